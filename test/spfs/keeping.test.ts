import { beforeEach, describe, expect, it } from 'vitest';

import { CodedError } from '../../src/errors.js';
import { keepAndTag, untagAndGiveUp, type KeepingOptions } from '../../src/spfs/keeping.js';
import type { SpfsStore } from '../../src/spfs/store/index.js';
import type { Digest } from '../../src/vocabulary.js';
import { freshStore, layer, log, tag } from './store/support.js';

const { signal } = new AbortController();

/** What keeps chains, without containerd. */
class FakeChains {
  readonly now = new Set<Digest>();
  collecting: () => Promise<void> = () => Promise.resolve();
  releasing: () => Promise<void> = () => Promise.resolve();

  keep({ digest }: { readonly digest: Digest }): Promise<void> {
    this.now.add(digest);
    return Promise.resolve();
  }

  kept(): Promise<readonly Digest[]> {
    return Promise.resolve([...this.now]);
  }

  async release(digests: readonly Digest[]): Promise<void> {
    await this.releasing();
    for (const digest of digests) this.now.delete(digest);
  }

  collect(): Promise<void> {
    return this.collecting();
  }

  sweep(): Promise<number> {
    return Promise.resolve(0);
  }
}

describe('keeping what tags name', () => {
  let store: SpfsStore;
  let chains: FakeChains;
  let options: KeepingOptions;
  const [red, blue] = [layer('red'), layer('blue')];
  beforeEach(async () => {
    store = await freshStore();
    chains = new FakeChains();
    options = { store, chains, log };
    await tag(store, ['red', red], ['blue', blue]);
    for (const object of [red, blue]) await chains.keep(object);
  });

  const names = () => store.read(async (view) => (await view.tags()).map(({ name }) => name));
  const tagBlue = (name: string) =>
    keepAndTag(options, { reason: 'a test', names: [name], user: 'me', find: () => Promise.resolve(blue), signal });

  it('lets others at the store while the garbage collection runs', async () => {
    let collected: () => void = () => undefined;
    const begun = new Promise<void>((begin) => {
      chains.collecting = () => {
        begin();
        return new Promise((resolve) => (collected = resolve));
      };
    });
    const untagging = untagAndGiveUp(options, ['red'], signal);
    await begun;
    expect([await names(), [...chains.now]]).toEqual([['blue'], [blue.digest]]);
    collected();
    expect(await untagging).toEqual([red.digest]);
  });

  it('says that tags are removed when what they kept cannot be given up, and does that with the next change', async () => {
    chains.releasing = () => Promise.reject(new CodedError('unavailable', 'containerd does not answer'));
    await expect(untagAndGiveUp(options, ['red'], signal)).rejects.toMatchObject({
      code: 'unavailable',
      message: 'removed red, but could not give up what no tag reaches: containerd does not answer',
      next: 'see to that; the next `spfs tag`, `untag` or `import` gives it up',
    });
    expect([await names(), chains.now.size]).toEqual([['blue'], 2]);
    chains.releasing = () => Promise.resolve();
    await tagBlue('azure');
    expect([...chains.now]).toEqual([blue.digest]);
  });

  it('gives up the object kept for a tag that could not be written', async () => {
    const green = layer('green');
    const find = () => Promise.resolve(green);
    const failing = keepAndTag(options, { reason: 'a test', names: ['green'], user: 'me', find, signal });
    await expect(failing).rejects.toMatchObject({ code: 'not-found' });
    expect([await names(), [...chains.now].sort()]).toEqual([['blue', 'red'], [blue.digest, red.digest].sort()]);
  });
});
