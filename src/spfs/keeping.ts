import type { Logger } from '../log.js';
import type { Digest } from '../vocabulary.js';
import type { Chains } from './chains/index.js';
import type { StoredObject } from './model.js';
import type { SpfsStore, StoreChange } from './store/index.js';

export interface KeepingOptions {
  readonly store: SpfsStore;
  readonly chains: Chains;
  readonly log: Logger;
}

export interface NewTags {
  /** For the log of the store. */
  readonly reason: string;
  readonly names: readonly string[];
  /** Who gives them. */
  readonly user: string;
  /** The object; it may be put into the store by this. */
  readonly find: (change: StoreChange) => Promise<StoredObject>;
  readonly signal: AbortSignal;
}

/** Keeps an object, then tags it: a tag always names what is there. What was kept is given up again when this fails. */
export async function keepAndTag(
  o: KeepingOptions,
  { reason, names, user, find, signal }: NewTags,
): Promise<StoredObject> {
  const { store, chains, log } = o;
  let kept: Digest | undefined;
  try {
    return await store.exclusive(
      reason,
      async (change) => {
        const object = await find(change);
        kept = object.digest;
        await chains.keep(object, signal);
        const entry = { digest: object.digest, user, time: new Date().toISOString() };
        for (const name of names) await change.pushTag(name, entry);
        return object;
      },
      signal,
    );
  } catch (error) {
    if (kept !== undefined) {
      await giveUp(o, [kept]).catch((failed: unknown) => {
        log.warn({ err: failed, digest: kept }, 'could not give up what was not tagged after all');
      });
    }
    throw error;
  }
}

/**
 * Removes tags, then gives up what no tag reaches any more.
 *
 * @returns the digests of the objects that went.
 */
export async function untagAndGiveUp(
  o: KeepingOptions,
  names: readonly string[],
  signal: AbortSignal,
): Promise<readonly Digest[]> {
  // Asks containerd, too: were it down, tags would go and what they kept would stay.
  await o.chains.sweep(signal);
  const gone = await o.store.exclusive(
    `untag ${names.join(' ')}`,
    async (change) => {
      const unreached: Digest[] = [];
      for (const name of names) unreached.push(...(await change.removeTag(name)));
      return unreached;
    },
    signal,
  );
  await giveUp(o, gone);
  return gone;
}

/** Gives up objects that are not in the store; by now another command may have put them there again. Not to be interrupted. */
async function giveUp({ store, chains }: KeepingOptions, digests: readonly Digest[]): Promise<void> {
  if (digests.length === 0) return;
  await store.exclusive('give up what no tag reaches', async (change) => {
    const gone: Digest[] = [];
    for (const digest of digests) if ((await change.object(digest)) === undefined) gone.push(digest);
    await chains.release(gone, new AbortController().signal);
  });
}
