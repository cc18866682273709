import { readdir } from 'node:fs/promises';
import { errnoOf, CodedError } from '../errors.js';
import { fromLevel as ofLevel, openTables, parseCounters, type Tables } from '../leveldb/index.js';

const tables = ['snapshots', 'children', 'ids', 'meta'] as const;

/**
 * The LevelDB of one root.
 *
 * - `snapshots`: key → the record as JSON
 * - `children`: parent + NUL + key → '' (NUL cannot be part of a key, so a range over one parent meets no other)
 * - `ids`: id, 16 digits → key
 * - `meta`: `format` → version of this layout; `counters` → {@link Counters} as JSON
 */
export type Database = Tables<(typeof tables)[number]>;

/**
 * Written with every transaction. `snapshots` tells at the next open whether LevelDB lost a part of its log without
 * saying so; `commits` tells after a failed write whether that write took effect.
 */
export interface Counters {
  readonly nextId: number;
  readonly snapshots: number;
  readonly commits: number;
}

export const formatVersion = 1;
export const formatKey = 'format';
export const countersKey = 'counters';

export function childKey(parent: string, key: string): string {
  return `${parent}\0${key}`;
}

/** The `children` keys of one parent. */
export function childRange(parent: string): { gt: string; lt: string } {
  return { gt: `${parent}\0`, lt: `${parent}\x01` };
}

export function idKey(id: number): string {
  return String(id).padStart(16, '0');
}

export function countersOf(text: string | undefined): Counters | undefined {
  return parseCounters(text, ['nextId', 'snapshots', 'commits']);
}

/**
 * Opens, and creates when the folder is absent or empty.
 *
 * @throws CodedError `failed-precondition` when a process holds it, `data-loss` when it is damaged
 */
export async function openDatabase(folder: string): Promise<{ database: Database; created: boolean }> {
  const created = await isNew(folder);
  const database = await openTables(folder, tables, { createIfMissing: created }).catch((error: unknown) => {
    throw fromLevel(error, folder);
  });
  return { database, created };
}

/** LevelDB would make a new, empty database where only its CURRENT file was lost. */
async function isNew(folder: string): Promise<boolean> {
  try {
    const names = await readdir(folder);
    return !names.some((name) => /^(CURRENT|MANIFEST-.*|.*\.(ldb|sst|log))$/.test(name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return true;
    throw new CodedError('data-loss', `${folder} is not a folder that can be read`, {
      facts: { path: folder },
      next: 'move it away; it is rebuilt from the snapshot.json files at the next start',
      cause: error,
    });
  }
}

/** What a failed write means. The database itself is as good as its disk: that is mended, and the next write works. */
export function fromWrite(error: unknown, folder: string): CodedError {
  const failure = fromLevel(error, folder);
  if (failure.code === 'resource-exhausted' || failure.code === 'unavailable') return failure;
  return new CodedError('unavailable', `${folder} cannot be written: ${failure.message}`, {
    facts: failure.facts,
    next: 'look after the disk; the next call works once it can be written again',
    cause: error,
  });
}

/** What a LevelDB error means here. A CodedError passes through. */
export function fromLevel(error: unknown, folder: string): CodedError {
  return ofLevel(error, folder, {
    locked: 'stop the other daemon, or choose another root',
    damaged: 'restart the daemon: it moves the database aside and rebuilds it from the snapshot.json files',
  });
}
