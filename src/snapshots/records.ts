import { readFile, rm } from 'node:fs/promises';

import { CodedError } from '../errors.js';
import { publishStaged, stageFile, writeFileDurably } from '../host/index.js';
import {
  abridged,
  serializeRecord,
  type CommittedRecord,
  type LayerPlace,
  type SnapshotRecord,
  type SoundRecord,
  type Transaction,
} from '../metadata/index.js';
import { newestFirst, oldestFirst, type OldestFirst } from '../vocabulary.js';
import type { Context } from './context.js';

/** Writes `snapshot.json`, from which the record can be rebuilt, beside the data it is about. */
export async function writeRecordFile(context: Pick<Context, 'paths'>, record: SnapshotRecord): Promise<void> {
  await writeFileDurably(context.paths.snapshot(record.id).record, serializeRecord(record));
}

/**
 * Makes `snapshot.json` say what the transaction writes about a snapshot that has one. What takes space is done now and may refuse
 * the transaction; the file gets its name once the transaction is on the disk, so it is never ahead of the database.
 */
export async function writeRecordFileWith(
  context: Pick<Context, 'paths' | 'log' | 'unsettled'>,
  tx: Transaction,
  record: SnapshotRecord,
): Promise<void> {
  const { id } = record;
  const path = context.paths.snapshot(id).record;
  const staged = await stageFile(path, serializeRecord(record));
  tx.with({
    committed: async () => {
      try {
        await publishStaged(staged, path);
      } catch (error) {
        context.log.error({ err: error, path }, 'the database has a change that this file does not have yet');
        context.unsettled.add(id);
      }
    },
    failed: async () => {
      try {
        await rm(staged, { force: true });
      } catch (error) {
        context.log.warn({ err: error, path: staged }, 'could not erase an unfinished file');
      }
    },
  });
}

/** Writes `snapshot.json` again when it does not say what the record says. */
export async function refreshRecordFile(context: Pick<Context, 'paths'>, record: SnapshotRecord): Promise<void> {
  const written = await readFile(context.paths.snapshot(record.id).record, 'utf8').catch(() => undefined);
  if (written !== serializeRecord(record)) await writeRecordFile(context, record);
}

/** @throws CodedError `not-found` */
export async function existing(store: Pick<Transaction, 'get'>, key: string): Promise<SnapshotRecord> {
  const record = await store.get(key);
  if (record) return record;
  throw new CodedError('not-found', `snapshot ${abridged(key)} does not exist`, {
    facts: { key },
    next: 'list what exists with "ctr snapshots ls"',
  });
}

/**
 * Whether snapshot `id` stands at `key`: asked after a write that failed, since a batch may have taken effect although its sync
 * failed, and what the record names must stay then.
 */
export async function isRecorded(store: Pick<Transaction, 'get'>, key: string, id: number): Promise<boolean> {
  return (await store.get(key))?.id === id;
}

/** @throws CodedError `already-exists` */
export async function mustBeFree(store: Pick<Transaction, 'get'>, key: string, what: string): Promise<void> {
  const taken = await store.get(key);
  if (!taken) return;
  throw new CodedError('already-exists', `${what} ${abridged(key)} is taken by snapshot ${taken.id} (${taken.kind})`, {
    facts: { key, id: taken.id, kind: taken.kind },
    next: 'choose another, or remove that snapshot first',
  });
}

/**
 * The parent a new snapshot may stand on.
 *
 * @throws CodedError `not-found`, `invalid-argument` when it is not committed, `failed-precondition` when it is
 *   quarantined
 */
export async function usableParent(store: Pick<Transaction, 'get'>, parent: string): Promise<CommittedRecord> {
  const record = await store.get(parent);
  if (!record) {
    throw new CodedError('not-found', `parent snapshot ${abridged(parent)} does not exist`, {
      facts: { parent },
      next: 'pull the image again, or name a committed snapshot',
    });
  }
  if (record.kind !== 'committed') {
    throw new CodedError('invalid-argument', `parent snapshot ${abridged(parent)} is ${record.kind}, not committed`, {
      facts: { parent, kind: record.kind },
      next: 'commit it first, or name a committed snapshot',
    });
  }
  mustBeSound(record);
  return record;
}

/**
 * The layers of the committed snapshot `parent` and of those below it.
 *
 * @throws CodedError `failed-precondition` when a snapshot of the chain is quarantined
 */
export async function layersOfChain(
  { store }: Pick<Context, 'store'>,
  parent: string,
): Promise<OldestFirst<LayerPlace>> {
  const places = (await store.chain(parent)).map((record) => {
    mustBeSound(record);
    return { id: record.id, file: record.layer.file };
  });
  return oldestFirst(newestFirst(places));
}

/** @throws CodedError `failed-precondition` when the snapshot was quarantined at start */
export function mustBeSound<Some extends SnapshotRecord>(record: Some): asserts record is Extract<Some, SoundRecord> {
  if (record.quarantine === undefined) return;
  throw new CodedError('failed-precondition', `snapshot ${abridged(record.key)} cannot be used: ${record.quarantine}`, {
    facts: { key: record.key, id: record.id },
    next: 'remove it and what stands on it, then pull the image again',
  });
}
