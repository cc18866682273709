import { readdir } from 'node:fs/promises';
import { Level } from 'level';

const tableOf = (level: Level, name: string) => level.sublevel(name);
/** A part of a LevelDB with keys of its own. Keys and values are texts. */
export type Table = ReturnType<typeof tableOf>;

/** An open LevelDB with its tables by name. */
export type Tables<Name extends string> = { readonly level: Level } & { readonly [Each in Name]: Table };

export type Operation =
  | { readonly type: 'put'; readonly sublevel: Table; readonly key: string; readonly value: string }
  | { readonly type: 'del'; readonly sublevel: Table; readonly key: string };

/** @throws LevelDB's errors, which `fromLevel` translates */
export async function openTables<const Name extends string>(
  folder: string,
  names: readonly Name[],
  { createIfMissing }: { readonly createIfMissing: boolean },
): Promise<Tables<Name>> {
  const level = new Level(folder, { createIfMissing, keyEncoding: 'utf8', valueEncoding: 'utf8' });
  await level.open();
  const tables = Object.fromEntries(names.map((name) => [name, tableOf(level, name)])) as Record<Name, Table>;
  return Object.assign(tables, { level });
}

/** The files in which LevelDB keeps what is in no table yet. */
export async function logFiles(folder: string): Promise<readonly string[]> {
  return (await readdir(folder)).filter((name) => name.endsWith('.log'));
}

/** Counters that a store writes with every change, as JSON; undefined when one is missing or no count. */
export function parseCounters<const Name extends string>(
  text: string | undefined,
  names: readonly Name[],
): Readonly<Record<Name, number>> | undefined {
  try {
    const parsed = JSON.parse(text ?? '') as Readonly<Record<string, unknown>>;
    const counters = names.map((name) => [name, parsed[name]] as const);
    const isWhole = counters.every(([, value]) => Number.isSafeInteger(value) && (value as number) >= 0);
    return isWhole ? (Object.fromEntries(counters) as Record<Name, number>) : undefined;
  } catch {
    return undefined;
  }
}
