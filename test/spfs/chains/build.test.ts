import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { CodedError } from '../../../src/errors.js';
import { silentLogger } from '../../../src/log.js';
import { buildChain } from '../../../src/spfs/chains/build.js';
import { linksOf } from '../../../src/spfs/chains/names.js';
import type { ChainTools, LayerBlob } from '../../../src/spfs/chains/unpack.js';
import type { Digest, Labels, OldestFirst } from '../../../src/vocabulary.js';

const layer = (text: string | number): Digest => `sha256:${createHash('sha256').update(String(text)).digest('hex')}`;
const { signal } = new AbortController();
const error = (code: 'not-found' | 'already-exists', message: string = code) => new CodedError(code, message);

interface Asked {
  readonly key: string;
  readonly parent: string;
  readonly labels: Labels;
}

/** What containerd and the snapshotter know, as far as building a chain can tell. */
class Fake {
  /** What containerd lists, by name. */
  readonly listed = new Set<string>();
  /** Layers that the snapshotter holds. */
  readonly held = new Set<Digest>();
  readonly active = new Set<string>();
  readonly calls: string[] = [];
  /** What a blob unpacks to. */
  applied = new Map<string, Digest>();
  before: (call: string) => void = () => undefined;

  readonly tools = {
    snapshots: {
      prepare: ({ key, parent, labels }: Asked) => this.#prepare(key, parent, labels),
      stat: (name: string) => this.#answer(`stat ${name}`, () => this.#mustKnow(name)),
      commit: ({ name, key }: { name: string; key: string }) =>
        this.#answer('commit', () => {
          if (this.listed.has(name)) throw error('already-exists');
          this.active.delete(key);
          this.listed.add(name);
        }),
      remove: (key: string) => this.#answer('remove', () => void this.active.delete(key)),
    },
    differ: {
      apply: ({ blob }: { blob: { digest: string } }) =>
        this.#answer('apply', () => ({ digest: this.applied.get(blob.digest) ?? blob.digest })),
    },
    log: silentLogger(),
  } as unknown as ChainTools;

  #mustKnow(name: string): { name: string } {
    if (!this.listed.has(name)) throw error('not-found', `snapshot ${name} does not exist`);
    return { name };
  }

  #prepare(key: string, parent: string, labels: Labels): Promise<unknown> {
    const name = labels['containerd.io/snapshot.ref'] ?? '';
    const diffId = labels['containerd.io/snapshot/diff-id'] as Digest;
    return this.#answer(`prepare ${name}`, () => {
      if (this.listed.has(name)) throw error('already-exists');
      if (parent !== '') this.#mustKnow(parent);
      if (this.held.has(diffId)) {
        this.listed.add(name);
        throw error('already-exists');
      }
      this.active.add(key);
      return [];
    });
  }

  async #answer<T>(call: string, work: () => T): Promise<T> {
    this.before(call);
    this.calls.push(call.split(' ')[0]!);
    return Promise.resolve().then(work);
  }
}

let fake: Fake;
beforeEach(() => {
  fake = new Fake();
});

function build(layers: readonly Digest[], blobs: ReadonlyMap<Digest, LayerBlob> = new Map()) {
  const links = linksOf(layers as unknown as OldestFirst<Digest>);
  const built = buildChain(fake.tools, links, { snapshotter: 's', lease: 'l', blobs, signal });
  return { names: links.map((link) => link.name), built };
}

const many = Array.from({ length: 200 }, (_, at) => layer(at));
const blobOf = (digest: string): LayerBlob => ({ blob: { mediaType: 'm', digest, size: 1 }, namespace: 'n' });

describe('building a chain', () => {
  it('asks two questions when it stands', async () => {
    for (const { name } of linksOf(many as unknown as OldestFirst<Digest>)) fake.listed.add(name);
    await build(many).built;
    expect(fake.calls).toEqual(['prepare', 'stat']);
  });

  it('finds how far it stands in few questions, and makes the rest', async () => {
    for (const each of many) fake.held.add(each);
    await build(many.slice(0, 150)).built;
    fake.calls.length = 0;
    const { names, built } = build(many);
    await built;
    expect(names.filter((name) => !fake.listed.has(name))).toEqual([]);
    expect(fake.calls.filter((call) => call === 'prepare')).toHaveLength(1 + 51);
    expect(fake.calls.length).toBeLessThan(2 * 51 + 20);
  });

  it('goes back as far as a garbage collection took it', async () => {
    for (const each of many.slice(0, 9)) fake.held.add(each);
    let taken = false;
    fake.before = (call) => {
      if (taken || !call.startsWith('prepare') || fake.listed.size < 7) return;
      taken = true;
      for (const name of [...fake.listed].slice(3)) fake.listed.delete(name);
    };
    const { names, built } = build(many.slice(0, 9));
    await built;
    expect([taken, [...fake.listed].sort()]).toEqual([true, [...names].sort()]);
  });

  it('ends with an error when containerd lists what the snapshotter does not have', async () => {
    const [one, two] = [layer(1), layer(2)];
    fake.held.add(one).add(two);
    // The snapshotter answers NOT_FOUND for it whenever it is looked at.
    fake.before = (call) => {
      if (call.startsWith('stat')) fake.listed.clear();
    };
    await expect(build([one, two]).built).rejects.toMatchObject({
      code: 'unavailable',
      next: expect.stringContaining('ctr -n spfs snapshots --snapshotter s rm NAME') as unknown,
    });
    expect(fake.calls.length).toBeLessThan(40);
  });

  it('unpacks a layer that is not held from its blob, and removes what it prepared when that has another layer', async () => {
    const [one, two] = [layer(1), layer(2)];
    fake.held.add(one);
    const { built, names } = build([one, two], new Map([[two, blobOf(two)]]));
    await built;
    expect([[...fake.listed].sort(), fake.active.size]).toEqual([[...names].sort(), 0]);
    const three = layer(3);
    fake.applied.set('blob', layer('another'));
    await expect(build([three], new Map([[three, blobOf('blob')]])).built).rejects.toMatchObject({ code: 'data-loss' });
    expect([fake.listed.has(three), fake.active.size]).toEqual([false, 0]);
  });

  it('is content when another process commits a link first', async () => {
    const one = layer(1);
    fake.before = (call) => {
      if (call === 'commit') fake.listed.add(one);
    };
    await build([one], new Map([[one, blobOf(one)]])).built;
    expect([fake.listed.has(one), fake.active.size]).toEqual([true, 0]);
  });

  it('removes what it prepared for a layer that is nowhere', async () => {
    fake.held.add(layer(1));
    await expect(build([layer(1), layer(2)]).built).rejects.toMatchObject({
      code: 'not-found',
      facts: { layer: layer(2) },
    });
    expect(fake.active.size).toBe(0);
  });

  it('names the layer in what the snapshotter says, and is not in the way of who does not answer', async () => {
    fake.before = () => {
      throw new CodedError('failed-precondition', 'it is quarantined', { next: 'look at it' });
    };
    await expect(build([layer(1), layer(2)]).built).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringMatching(
        /^layer [A-Z2-7]{8} \(2 of 2 from below\) cannot be used: it is quarantined$/,
      ) as unknown,
      next: 'look at it',
    });
    const down = new CodedError('unavailable', 'down');
    fake.before = () => {
      throw down;
    };
    await expect(build([layer(1)]).built).rejects.toBe(down);
  });
});
