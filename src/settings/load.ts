import type { z } from 'zod';
import { CodedError } from '../errors.js';

/** What every setting has; each program's table adds where it is given. */
export interface Setting {
  /** What a user reads as the default. */
  readonly default: string;
  /** What is parsed when the setting is not given; undefined where being absent means something. */
  readonly fallback: string | number | boolean | undefined;
  readonly meaning: string;
  readonly schema: z.ZodType;
}

/** Where a setting can be given, in the order in which the places are asked. */
export interface Places {
  /** What it is called in messages about its default. */
  readonly name: string;
  /** With its hyphens. */
  readonly flag?: string;
  /** Groups of names, of which variables come before keys of files. */
  readonly names: readonly { readonly variables: readonly string[]; readonly keys: readonly string[] }[];
}

/** What was given. */
export interface Given<Name extends string> {
  /** As text. */
  readonly flags: Readonly<Partial<Record<Name, string>>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By key; later files win. */
  readonly files: readonly { readonly path: string; readonly values: ReadonlyMap<string, unknown> }[];
}

/** The values of a table. */
export type ValuesOf<Table extends Readonly<Record<string, Setting>>> = {
  readonly [Name in keyof Table]: z.infer<Table[Name]['schema']>;
};

/**
 * Each setting from the first of: its flag, its variables (an empty one counts as none), the files, its default. Settings that are
 * given nowhere and have no default are absent.
 *
 * @param expand applied to every text, before it is parsed
 * @throws CodedError `invalid-argument` naming the source, the value and what is wrong with it.
 */
export function loadSettings<Name extends string, One extends Setting>(
  table: Readonly<Record<Name, One>>,
  placesOf: (setting: One) => Places,
  given: Given<Name>,
  expand: (text: string) => string = (text) => text,
): Partial<ValuesOf<Record<Name, One>>> {
  const names = Object.keys(table) as Name[];
  const values = names.flatMap((name) => {
    const found = find(name, table[name], placesOf(table[name]), given);
    return found.value === undefined ? [] : [[name, validated(table[name].schema, found, expand)] as const];
  });
  return Object.fromEntries(values) as Partial<ValuesOf<Record<Name, One>>>;
}

interface Found {
  readonly source: string;
  readonly value: unknown;
}

function find<Name extends string>(name: Name, setting: Setting, places: Places, given: Given<Name>): Found {
  const flag = given.flags[name];
  if (flag !== undefined) return { source: `flag ${places.flag ?? places.name}`, value: flag };
  for (const { variables, keys } of places.names) {
    for (const variable of variables) {
      const value = given.environment[variable];
      if (value !== undefined && value !== '') return { source: `environment ${variable}`, value };
    }
    for (const key of keys) {
      const file = given.files.findLast(({ values }) => values.has(key));
      if (file) return { source: `file ${file.path} key ${key}`, value: file.values.get(key) };
    }
  }
  return { source: `default of ${places.name}`, value: setting.fallback };
}

function validated(schema: z.ZodType, { source, value }: Found, expand: (text: string) => string): unknown {
  const result = schema.safeParse(typeof value === 'string' ? expand(value) : value);
  if (result.success) return result.data;
  const why = result.error.issues[0]?.message ?? 'is not valid';
  throw new CodedError('invalid-argument', `${source}: ${printed(value)} ${why}`, { facts: { source } });
}

/** TOML knows no null and no undefined, so there is always something to show. */
export function printed(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item)).slice(0, 200);
}
