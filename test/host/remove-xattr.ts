import koffi from 'koffi';

const call = koffi.load(null).func('int lremovexattr(const char *path, const char *name)') as (
  path: string,
  name: string,
) => number;

/** Removes an attribute of the file itself, which must have it. */
export function removeXattr(path: string, name: string): void {
  if (call(path, name) !== 0) throw new Error(`the attribute ${name} of ${path} cannot be removed: ${koffi.errno()}`);
}
