import { readFile } from 'node:fs/promises';
import { describeError, errnoOf, SnapshotterError } from '../../errors.js';
import { parseToml } from '../../toml.js';
import { similarTo } from '../similar.js';
import { settings, unusedKeys, unusedSections, type Setting } from './settings.js';

export interface ConfigFile {
  readonly path: string;
  /** By `section.key`; only keys that are settings. */
  readonly values: ReadonlyMap<string, unknown>;
  /** Sections and keys of the original spfs that mean nothing here. */
  readonly unused: readonly string[];
}

const known = Object.values(settings).flatMap(({ toml }: Setting) => toml ?? []);
const sections = [...new Set(known.map((name) => name.split('.')[0] ?? ''))];

/**
 * Reads an spfs.toml, whose keys are all settings or among those that the original spfs has.
 *
 * @returns undefined when the file does not exist and need not.
 * @throws SnapshotterError `invalid-argument` when it cannot be read or parsed, or has a key that nobody knows.
 */
export async function readConfigFile(path: string, o: { optional: boolean }): Promise<ConfigFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (o.optional && (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR')) return undefined;
    throw new SnapshotterError('invalid-argument', `file ${path} cannot be read: ${describeError(error)}`, {
      facts: { path },
      next: o.optional ? 'make it readable, or move it away' : 'check the path given with --config',
      cause: error,
    });
  }
  const values = new Map<string, unknown>();
  const unused: string[] = [];
  for (const [section, content] of Object.entries(parseToml(path, text))) {
    if (unusedSections.includes(section)) unused.push(section);
    else for (const [key, value] of keysOf(path, section, content)) sort(path, `${section}.${key}`, value);
  }
  return { path, values, unused };

  function sort(file: string, name: string, value: unknown): void {
    if (unusedKeys.includes(name)) unused.push(name);
    else if (known.includes(name)) values.set(name, value);
    else throw unknownKey(file, name, known);
  }
}

function keysOf(path: string, section: string, content: unknown): [string, unknown][] {
  if (!sections.includes(section)) throw unknownKey(path, section, [...sections, ...known]);
  if (typeof content === 'object' && content !== null && !Array.isArray(content) && !(content instanceof Date)) {
    return Object.entries(content);
  }
  throw new SnapshotterError('invalid-argument', `file ${path} key ${section}: it is a section, not a value`, {
    facts: { path, key: section },
    next: `write [${section}] and its settings below`,
  });
}

function unknownKey(path: string, name: string, candidates: readonly string[]): SnapshotterError {
  const key = name.split('.').at(-1) ?? name;
  // `tmpfs_size` at the top level or in another section is meant as `filesystem.tmpfs_size`.
  const moved = candidates.filter((candidate) => candidate.endsWith(`.${key}`));
  const [nearest] = [...similarTo(name, candidates, 1), ...moved];
  const all = candidates.join(', ');
  return new SnapshotterError('invalid-argument', `file ${path} key ${name}: there is no such setting`, {
    facts: { path, key: name, ...(nearest === undefined ? {} : { nearest }) },
    next: nearest === undefined ? `the settings are ${all}` : `the nearest one is ${nearest}`,
  });
}
