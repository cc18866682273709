import { readFile } from 'node:fs/promises';
import { describeError, errnoOf, SnapshotterError } from '../errors.js';
import { parseToml } from '../toml.js';

export interface ConfigFile {
  readonly path: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/**
 * Reads a TOML file whose keys are all among `known`.
 *
 * @returns undefined when the file does not exist and need not.
 * @throws SnapshotterError `invalid-argument` when it cannot be read or parsed, or has a key that nobody knows.
 */
export async function readConfigFile(
  path: string,
  known: readonly string[],
  o: { optional: boolean },
): Promise<ConfigFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (o.optional && errnoOf(error) === 'ENOENT') return undefined;
    throw new SnapshotterError('invalid-argument', `file ${path} cannot be read: ${describeError(error)}`, {
      facts: { path },
      next: 'check the path given with --config',
      cause: error,
    });
  }
  const values = parseToml(path, text);
  const unknown = Object.keys(values).find((key) => !known.includes(key));
  if (unknown === undefined) return { path, values };
  throw new SnapshotterError('invalid-argument', `file ${path} key ${unknown}: there is no such setting`, {
    facts: { path, key: unknown },
    next: `the settings are ${known.join(', ')}`,
  });
}
