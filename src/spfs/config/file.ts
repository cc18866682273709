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
  /** Sections and keys that nobody is known to read. */
  readonly unknown: readonly UnknownKey[];
}

export interface UnknownKey {
  readonly name: string;
  /** The setting that was perhaps meant. */
  readonly nearest?: string;
}

const known = Object.values(settings).flatMap(({ toml, own }: Setting) => [toml ?? [], own?.toml ?? []].flat());
const sections = [...new Set(known.map((name) => name.split('.')[0] ?? ''))];

/**
 * Reads an spfs.toml, which the original spfs reads too: what it has beside our settings is passed over.
 *
 * @returns undefined when the file does not exist and need not.
 * @throws SnapshotterError `invalid-argument` when it cannot be read or parsed, or has a value in the place of one of our sections.
 */
export async function readConfigFile(path: string, o: { optional: boolean }): Promise<ConfigFile | undefined> {
  const text = await textOf(path, o);
  if (text === undefined) return undefined;
  const values = new Map<string, unknown>();
  const unused: string[] = [];
  const unknown: UnknownKey[] = [];
  for (const [section, content] of Object.entries(parseToml(path, text))) {
    if (unusedSections.includes(section)) unused.push(section);
    else if (!sections.includes(section)) unknown.push(unknownKey(section, [...sections, ...known]));
    else {
      for (const [key, value] of keysOf(path, section, content)) {
        const name = `${section}.${key}`;
        if (known.includes(name)) values.set(name, value);
        else if (unusedKeys.includes(name)) unused.push(name);
        else unknown.push(unknownKey(name, known));
      }
    }
  }
  return { path, values, unused, unknown };
}

async function textOf(path: string, o: { optional: boolean }): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (o.optional && (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR')) return undefined;
    throw new SnapshotterError('invalid-argument', `file ${path} cannot be read: ${describeError(error)}`, {
      facts: { path },
      next: o.optional ? 'make it readable, or move it away' : 'check the path given with --config',
      cause: error,
    });
  }
}

function keysOf(path: string, section: string, content: unknown): [string, unknown][] {
  if (typeof content === 'object' && content !== null && !Array.isArray(content) && !(content instanceof Date)) {
    return Object.entries(content);
  }
  throw new SnapshotterError('invalid-argument', `file ${path} key ${section}: it is a section, not a value`, {
    facts: { path, key: section },
    next: `write [${section}] and its settings below`,
  });
}

function unknownKey(name: string, candidates: readonly string[]): UnknownKey {
  const key = name.split('.').at(-1) ?? name;
  // `tmpfs_size` at the top level or in another section is meant as `filesystem.tmpfs_size`.
  const moved = candidates.filter((candidate) => candidate.endsWith(`.${key}`));
  const [nearest] = [...similarTo(name, candidates, 1), ...moved];
  return { name, ...(nearest === undefined ? {} : { nearest }) };
}
