import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { ErrorCode } from '../../../src/errors.js';
import { silentLogger } from '../../../src/log.js';
import type { StoredObject } from '../../../src/spfs/model.js';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { entry } from './objects.js';

export * from './objects.js';

export const log = silentLogger();

/** Matches a CodedError with this code. */
export const coded = (code: ErrorCode): unknown => expect.objectContaining({ code });

/** A path for a storage root in a folder that goes away with the test. */
export async function freshRoot(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'spfs-store-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'root');
}

export async function freshStore(): Promise<SpfsStore> {
  return new SpfsStore({ root: await freshRoot(), log });
}

/** Puts the objects and gives each name its object, in this order, in one change. */
export function tag(store: SpfsStore, ...tags: readonly (readonly [string, StoredObject])[]): Promise<void> {
  return store.exclusive('a test', async (change) => {
    for (const [name, object] of tags) {
      change.putObject(object);
      await change.pushTag(name, entry(object));
    }
  });
}

/** Puts objects that no tag names. */
export function put(store: SpfsStore, ...objects: readonly StoredObject[]): Promise<void> {
  return store.exclusive('a test', (change) => {
    for (const object of objects) change.putObject(object);
    return Promise.resolve();
  });
}
