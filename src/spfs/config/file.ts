import { CodedError } from '../../errors.js';
import { nearestKey, readToml } from '../../settings/index.js';
import { settings, unusedKeys, unusedSections, type Setting } from './settings.js';

export interface ConfigFile {
  readonly path: string;
  /** By `section.key`; only keys that are settings. */
  readonly values: ReadonlyMap<string, unknown>;
  /** Sections and keys of the original spfs that mean nothing here. */
  readonly unused: readonly string[];
  /** Sections and keys that no known program reads. */
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
 * @throws CodedError `invalid-argument` when it cannot be read or parsed, or has a value in the place of one of our sections.
 */
export async function readConfigFile(path: string, o: { optional: boolean }): Promise<ConfigFile | undefined> {
  const table = await readToml(path, o);
  if (table === undefined) return undefined;
  const values = new Map<string, unknown>();
  const unused: string[] = [];
  const unknown: UnknownKey[] = [];
  for (const [section, content] of Object.entries(table)) {
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

function keysOf(path: string, section: string, content: unknown): [string, unknown][] {
  if (typeof content === 'object' && content !== null && !Array.isArray(content) && !(content instanceof Date)) {
    return Object.entries(content);
  }
  throw new CodedError('invalid-argument', `file ${path} key ${section}: it is a section, not a value`, {
    facts: { path, key: section },
    next: `write [${section}] and its settings below`,
  });
}

function unknownKey(name: string, candidates: readonly string[]): UnknownKey {
  const nearest = nearestKey(name, candidates);
  return { name, nearest };
}
