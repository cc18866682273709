import { readFile } from 'node:fs/promises';
import { describeError, errnoOf, CodedError } from '../errors.js';
import { similarTo } from '../similar.js';
import { parseToml } from './toml.js';

/**
 * Reads a TOML file.
 *
 * @param optional whether it is read only when it exists: a usual place, not one that was named with `--config`
 * @returns undefined when the file does not exist and need not.
 * @throws CodedError `invalid-argument` when it cannot be read or parsed.
 */
export async function readToml(
  path: string,
  { optional }: { readonly optional: boolean },
): Promise<Readonly<Record<string, unknown>> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (optional && (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR')) return undefined;
    throw new CodedError('invalid-argument', `file ${path} cannot be read: ${describeError(error)}`, {
      facts: { path },
      next: optional ? 'make it readable, or move it away' : 'check the path given with --config',
      cause: error,
    });
  }
  return parseToml(path, text);
}

/** The key that an unknown one was perhaps meant as: a slip of the pen away, or the same in another section. */
export function nearestKey(name: string, known: readonly string[]): string | undefined {
  const key = name.split('.').at(-1) ?? name;
  const [nearest] = [...similarTo(name, known, 1), ...known.filter((other) => other.endsWith(`.${key}`))];
  return nearest;
}
