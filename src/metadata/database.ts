import { readdir } from 'node:fs/promises';
import { Level } from 'level';
import { errnoOf, SnapshotterError } from '../errors.js';

const tableOf = (level: Level, name: string) => level.sublevel(name);
export type Sublevel = ReturnType<typeof tableOf>;

/**
 * The LevelDB of one root.
 *
 * - `snapshots`: key → the record as JSON
 * - `children`: parent + NUL + key → '' (NUL cannot be part of a key, so a range over one parent meets no other)
 * - `ids`: id, 16 digits → key
 * - `meta`: `format` → version of this layout; `counters` → {@link Counters} as JSON
 */
export interface Database {
  readonly level: Level;
  readonly snapshots: Sublevel;
  readonly children: Sublevel;
  readonly ids: Sublevel;
  readonly meta: Sublevel;
}

export type Operation =
  | { readonly type: 'put'; readonly sublevel: Sublevel; readonly key: string; readonly value: string }
  | { readonly type: 'del'; readonly sublevel: Sublevel; readonly key: string };

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

export function parseCounters(text: string | undefined): Counters | undefined {
  if (text === undefined) return undefined;
  try {
    const { nextId, snapshots, commits } = JSON.parse(text) as Record<string, unknown>;
    if (!isCount(nextId) || !isCount(snapshots) || !isCount(commits)) return undefined;
    return { nextId, snapshots, commits };
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/**
 * Opens, and creates when the folder is absent or empty.
 *
 * @throws SnapshotterError `failed-precondition` when a process holds it, `data-loss` when it is damaged
 */
export async function openDatabase(folder: string): Promise<{ database: Database; created: boolean }> {
  const created = await isNew(folder);
  const level = new Level(folder, {
    createIfMissing: created,
    keyEncoding: 'utf8',
    valueEncoding: 'utf8',
  });
  try {
    await level.open();
  } catch (error) {
    throw fromLevel(error, folder);
  }
  const database = {
    level,
    snapshots: tableOf(level, 'snapshots'),
    children: tableOf(level, 'children'),
    ids: tableOf(level, 'ids'),
    meta: tableOf(level, 'meta'),
  };
  return { database, created };
}

/** The files in which LevelDB keeps what is in no table yet. */
export async function logFiles(folder: string): Promise<readonly string[]> {
  return (await readdir(folder)).filter((name) => name.endsWith('.log'));
}

/** LevelDB would make a new, empty database where only its CURRENT file was lost. */
async function isNew(folder: string): Promise<boolean> {
  try {
    const names = await readdir(folder);
    return !names.some((name) => /^(CURRENT|MANIFEST-.*|.*\.(ldb|sst|log))$/.test(name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return true;
    throw new SnapshotterError('data-loss', `${folder} is not a folder that can be read`, {
      facts: { path: folder },
      next: 'move it away; it is rebuilt from the snapshot.json files at the next start',
      cause: error,
    });
  }
}

/** True for what LevelDB answers when it was closed under a reader. */
export function wasClosed(error: unknown): boolean {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return ['LEVEL_DATABASE_NOT_OPEN', 'LEVEL_ITERATOR_NOT_OPEN', 'LEVEL_SNAPSHOT_NOT_OPEN'].includes(
    errnoOf(inner) ?? '',
  );
}

/** What a failed write means. The database itself is as good as its disk: that is mended, and the next write works. */
export function fromWrite(error: unknown, folder: string): SnapshotterError {
  const failure = fromLevel(error, folder);
  if (failure.code === 'resource-exhausted' || failure.code === 'unavailable') return failure;
  return new SnapshotterError('unavailable', `${folder} cannot be written: ${failure.message}`, {
    facts: failure.facts,
    next: 'look after the disk; the next call works once it can be written again',
    cause: error,
  });
}

// A missing file, a file too short to be mapped (EINVAL), a sector that cannot be read (EIO).
const damage = /No such file|does not exist|Invalid argument|Input\/output error/i;

/** What a LevelDB error means here. A SnapshotterError passes through. */
export function fromLevel(error: unknown, folder: string): SnapshotterError {
  if (error instanceof SnapshotterError) return error;
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = errnoOf(inner) ?? '';
  const text = inner instanceof Error ? inner.message : String(inner);
  const details = { facts: { path: folder, leveldb: code }, cause: error };
  if (code === 'LEVEL_LOCKED') {
    return new SnapshotterError('failed-precondition', `${folder} is in use by another process`, {
      ...details,
      next: 'stop the other daemon, or choose another root',
    });
  }
  if (/No space left|quota exceeded/i.test(text)) {
    return new SnapshotterError('resource-exhausted', `no space left for ${folder}`, {
      ...details,
      next: 'free disk space',
    });
  }
  if (code === 'LEVEL_CORRUPTION' || code === 'LEVEL_DECODE_ERROR' || damage.test(text)) {
    return new SnapshotterError('data-loss', `${folder} is damaged: ${text}`, {
      ...details,
      next: 'restart the daemon: it moves the database aside and rebuilds it from the snapshot.json files',
    });
  }
  if (wasClosed(inner)) {
    return new SnapshotterError('unavailable', `${folder} was closed meanwhile`, { ...details, next: 'try again' });
  }
  return new SnapshotterError('internal', `${folder}: ${text}`, details);
}
