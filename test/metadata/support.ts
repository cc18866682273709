import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { ErrorCode } from '../../src/errors.js';
import { silentLogger } from '../../src/log.js';
import { MetadataStore, type SnapshotRecord } from '../../src/metadata/index.js';
import { recordFrom, type RecordFields } from '../../src/metadata/record.js';

export const log = silentLogger();

/** Matches a CodedError with this code. */
export const coded = (code: ErrorCode): unknown => expect.objectContaining({ code });

/** A path for a database in a folder that goes away with the test. */
export async function freshFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'metadata.db');
}

export async function openStore(folder?: string): Promise<MetadataStore> {
  const store = await MetadataStore.open(folder ?? (await freshFolder()), log);
  onTestFinished(() => store.close());
  return store;
}

/** A container without a parent, or what the fields make of it. */
export function recordOf(fields: Partial<RecordFields> & { id: number; key: string }): SnapshotRecord {
  const { kind = 'active' } = fields;
  const layer = { file: 'layer.erofs', uuid: '0f8fad5b-d9cb-469f-a165-70867728950e', blocks: 9 };
  const serve = { shape: 'image', image: 'none', writable: kind === 'active' } as const;
  return recordFrom({
    kind,
    parent: '',
    labels: {},
    createdAt: '2026-01-02T03:04:05.678Z',
    updatedAt: '2026-01-02T03:04:05.678Z',
    role: kind === 'view' ? 'view' : 'container',
    ...(kind === 'committed' ? { layer } : { serve }),
    ...fields,
  });
}

/** Inserts one record with the next id and gives it back. */
export function insert(store: MetadataStore, fields: Partial<RecordFields> & { key: string }): Promise<SnapshotRecord> {
  return store.exclusive('insert', async (tx) => {
    const record = recordOf({ id: tx.nextId(), ...fields });
    await tx.insert(record);
    return record;
  });
}

/** A committed chain `<prefix>1` … `<prefix>N`, the last one the newest. */
export async function insertChain(store: MetadataStore, length: number, prefix = 'layer-'): Promise<void> {
  await store.exclusive('chain', async (tx) => {
    for (let at = 1; at <= length; at += 1) {
      const parent = at === 1 ? '' : `${prefix}${at - 1}`;
      await tx.insert(recordOf({ id: tx.nextId(), key: `${prefix}${at}`, kind: 'committed', parent }));
    }
  });
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** The same numbers on every run, so that a failure can be repeated. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}
