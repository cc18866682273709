import { CodedError } from '../errors.js';
import type { Logger } from '../log.js';
import type { Digest } from '../vocabulary.js';
import type { Chains } from './chains/index.js';
import type { StoredObject } from './model.js';
import type { SpfsStore, StoreChange, StoreView } from './store/index.js';

export interface KeepingOptions {
  readonly store: SpfsStore;
  readonly chains: Pick<Chains, 'keep' | 'kept' | 'release' | 'collect' | 'sweep'>;
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

/**
 * Keeps an object, then tags it: a tag always names a chain that exists. The object is given up again when this fails, and with
 * the next change when this process is killed.
 */
export async function keepAndTag(
  o: KeepingOptions,
  { reason, names, user, find, signal }: NewTags,
): Promise<StoredObject> {
  const { store, chains, log } = o;
  let kept: boolean | undefined;
  let left = 0;
  try {
    const object = await store.exclusive(
      reason,
      async (change) => {
        left = await giveUpUnknown(o, change);
        const object = await find(change);
        kept = true;
        await chains.keep(object, signal);
        const entry = { digest: object.digest, user, time: new Date().toISOString() };
        for (const name of names) await change.pushTag(name, entry);
        return object;
      },
      signal,
    );
    if (left > 0) await collect(o);
    return object;
  } catch (error) {
    if (kept) {
      await giveUp(o).catch((failed: unknown) => {
        log.warn({ err: failed }, 'could not give up what was not tagged after all; the next change of tags will');
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
  await giveUp(o).catch((error: unknown) => {
    throw notGivenUp(names, error);
  });
  return gone;
}

async function giveUp(o: KeepingOptions): Promise<void> {
  const count = await o.store.exclusive('give up what no tag reaches', (change) => giveUpUnknown(o, change));
  if (count > 0) await collect(o);
}

/** Commands that wait for the store do not wait for this. What is not collected now is with the next collection. */
async function collect({ chains, log }: KeepingOptions): Promise<void> {
  await chains.collect(new AbortController().signal).catch((error: unknown) => {
    log.warn({ err: error }, 'did not wait for the garbage collection of what was given up');
  });
}

/**
 * Gives up what is kept and not in the store: what a command has just removed, or one that was killed between its two steps.
 * No other command runs between them, since the store is held exclusively. Not to be interrupted.
 *
 * @returns how many objects there were
 */
async function giveUpUnknown({ chains, log }: KeepingOptions, view: StoreView): Promise<number> {
  const { signal } = new AbortController();
  const unknown: Digest[] = [];
  for (const digest of await chains.kept(signal)) {
    if ((await view.object(digest)) === undefined) unknown.push(digest);
  }
  await chains.release(unknown, signal);
  if (unknown.length > 0) log.debug({ objects: unknown }, 'gave up what no tag reaches');
  return unknown.length;
}

function notGivenUp(names: readonly string[], cause: unknown): CodedError {
  const code = cause instanceof CodedError ? cause.code : 'internal';
  const why = cause instanceof Error ? cause.message : String(cause);
  return new CodedError(code, `removed ${names.join(', ')}, but could not give up what no tag reaches: ${why}`, {
    facts: { tags: names },
    next: 'see to that; the next `spfs tag`, `untag` or `import` gives it up',
    cause,
  });
}
