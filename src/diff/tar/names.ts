import { malformed, shown } from './block.js';

/** Linux's limits for a path, a symbolic link's target and a name, in bytes; the first two without their final zero. */
const pathMax = 4095;
const nameMax = 255;
/** Only what is longer than the longest path is not even looked at. */
const textMax = 2 * pathMax;

/** `a/.wh.b` says that `b` is gone from `a`, and `a/.wh..wh..opq` that older layers have nothing in `a` (image-spec 1.1, layer.md). */
export const whiteoutPrefix = '.wh.';
export const opaqueMarker = '.wh..wh..opq';

const unclean = /(^|\/)\.{0,2}(\/|$)/;

/**
 * `/a`, `./a`, `b/../a` and `a/` are all `a`, as containerd reads them; the root is the empty string.
 *
 * @throws CodedError `invalid-argument` for what leads above the root
 */
export function cleanPath(name: string, offset: number): string {
  if (name.length > textMax) throw tooLong('path', name, pathMax, offset);
  const begin = name.startsWith('./') ? 2 : 0;
  const path = name.slice(begin, name.endsWith('/') && name.length > begin ? -1 : undefined);
  if (path !== '' && !unclean.test(path)) return path;
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) throw malformed(`the path ${shown(name)} leads upwards`, offset);
  }
  return parts.join('/');
}

/** As a path within the root: what leads above it ends there. */
export function withinRoot(above: readonly string[], target: string): string[] {
  const parts = target.startsWith('/') ? [] : [...above];
  for (const part of target.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts;
}

export function splitPath(path: string): readonly [folder: string, name: string] {
  const slash = path.lastIndexOf('/');
  return slash === -1 ? ['', path] : [path.slice(0, slash), path.slice(slash + 1)];
}

/** @throws CodedError `invalid-argument` for what no Linux system could make */
export function checkName(name: string, offset: number): void {
  if (name.length > nameMax) throw tooLong('name', name, nameMax, offset);
}

export function checkPath(path: string, offset: number): void {
  if (path.length > pathMax) throw tooLong('path', path, pathMax, offset);
}

export function checkTarget(target: string, offset: number): void {
  if (target.length >= 1 && target.length <= pathMax) return;
  throw malformed(`a symbolic link's target is ${target.length} bytes long, and Linux allows 1 to ${pathMax}`, offset);
}

function tooLong(what: string, bytes: string, max: number, offset: number): Error {
  return malformed(`the ${what} ${shown(bytes)} is ${bytes.length} bytes long, and Linux allows ${max}`, offset);
}
