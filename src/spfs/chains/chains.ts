import { createHash } from 'node:crypto';

import type { ContainerdClient } from '../../containerd/index.js';
import { isCode } from '../../errors.js';
import type { Logger } from '../../log.js';
import { hexOf, listedOldestFirst, parseDigest, type Digest, type Mount, type OldestFirst } from '../../vocabulary.js';
import type { Chain, OpenChain, StoredObject } from '../model.js';
import { buildChain } from './build.js';
import { Holds, type Hold } from './holds.js';
import { linksOf, spfsNamespace, type Link } from './names.js';
import { discard, extractKey, unpackInto, type ChainTools, type LayerBlob } from './unpack.js';
import { aboutChain, isMissing, unpackedByAnother } from './words.js';

export interface ChainsOptions {
  readonly containerd: ContainerdClient;
  /** As containerd names the plugin. */
  readonly snapshotter: string;
  /** Whose objects `keep`, `release` and `kept` are about: the id of a store. Several may share one containerd. */
  readonly keeper: () => string;
  readonly log: Logger;
}

export interface EnsureOptions {
  /** Of namespace `spfs`. */
  readonly lease: string;
  /** Layers that the snapshotter need not hold yet, by diff ID. */
  readonly blobs?: ReadonlyMap<Digest, LayerBlob>;
  readonly onLink?: (link: Link) => void;
  readonly signal: AbortSignal;
}

export interface OpenOptions {
  readonly blobs?: ReadonlyMap<Digest, LayerBlob>;
  readonly signal: AbortSignal;
}

const objectLabel = 'spfs/object';
const keeperLabel = 'spfs/store';
const none: ReadonlyMap<Digest, LayerBlob> = new Map();

/**
 * Stacks of layers as chains of snapshots in containerd's namespace `spfs`, and what keeps them there.
 *
 * Every method throws CodedError: `unavailable` when containerd or the snapshotter does not answer; `failed-precondition`
 * when containerd has no such snapshotter, or a snapshot is quarantined; and the signal's reason.
 */
export class Chains {
  readonly #options: ChainsOptions;
  readonly #tools: ChainTools;
  readonly #holds: Holds;

  constructor(options: ChainsOptions) {
    this.#options = options;
    const { containerd, snapshotter, log } = options;
    this.#tools = { snapshots: containerd.snapshots(snapshotter, spfsNamespace), differ: containerd.differ, log };
    this.#holds = new Holds(containerd.leases, log);
  }

  /** As containerd names the plugin. */
  get snapshotter(): string {
    return this.#options.snapshotter;
  }

  /**
   * Makes the stack a chain of committed snapshots under the lease. An empty stack is a chain without a name.
   *
   * @throws CodedError `not-found` a layer that is not here
   */
  async ensure(layers: OldestFirst<Digest>, { lease, blobs = none, onLink, signal }: EnsureOptions): Promise<Chain> {
    const links = linksOf(layers);
    const { snapshotter } = this.#options;
    if (links.length > 0) await buildChain(this.#tools, links, { snapshotter, lease, blobs, onLink, signal });
    return { name: links.at(-1)?.name ?? '', layers };
  }

  /**
   * Keeps an object's chain until `release`. Does nothing when it is kept already.
   *
   * @throws CodedError `not-found` a layer that is not here
   */
  async keep(object: StoredObject, signal: AbortSignal): Promise<void> {
    const { leases } = this.#options.containerd;
    const layers = object.kind === 'platform' ? object.layers : stackOf(object.digest);
    const name = linksOf(layers).at(-1)?.name;
    if (name === undefined) return;
    const lease = this.#leaseOf(object.digest);
    const labels = { [objectLabel]: hexOf(object.digest), [keeperLabel]: this.#options.keeper() };
    const isNew = await leases.createNamed({ namespace: spfsNamespace, id: lease, labels, signal });
    try {
      const type = `snapshots/${this.#options.snapshotter}`;
      await leases.add(spfsNamespace, lease, { type, id: name }, signal);
      // The lease is looked at before the snapshot is: one that stands now cannot be taken any more.
      if (!(await this.#stands(name, signal)))
        await this.#withHold(signal, (hold) => this.ensure(layers, { lease: hold, signal }));
    } catch (error) {
      if (isNew) await leases.release(spfsNamespace, lease);
      throw error;
    }
  }

  /** Gives up objects: unless something else keeps them, containerd's next garbage collection takes their snapshots. */
  async release(digests: readonly Digest[], signal: AbortSignal): Promise<void> {
    for (const digest of digests) await this.#holds.delete(this.#leaseOf(digest), signal);
  }

  /** Waits for a garbage collection, which may take long. */
  async collect(signal: AbortSignal): Promise<void> {
    const hold = await this.#holds.take('work', signal);
    await hold.release(true);
  }

  /** The objects that are kept for this keeper, by digest. */
  async kept(signal: AbortSignal): Promise<readonly Digest[]> {
    const filter = `labels.${JSON.stringify(keeperLabel)}==${JSON.stringify(this.#options.keeper())}`;
    const found = await this.#options.containerd.leases.list(spfsNamespace, [filter], signal);
    return found.map(({ labels }) => parseDigest(`sha256:${labels[objectLabel]}`, 'what a lease of spfs keeps'));
  }

  /**
   * The disks of a stack, for this process, until they are closed or it ends.
   *
   * @throws CodedError `not-found` a layer that is not here
   */
  async open(layers: OldestFirst<Digest>, { blobs, signal }: OpenOptions): Promise<OpenChain> {
    const name = linksOf(layers).at(-1)?.name;
    if (name === undefined) return { chain: { name: '', layers }, mounts: [], close: () => Promise.resolve() };
    const hold = await this.#holds.take('run', signal);
    try {
      const mounts = await this.#view(layers, hold.lease, { blobs, signal });
      return { chain: { name, layers }, mounts, close: () => this.#close(hold) };
    } catch (error) {
      await this.#close(hold, true);
      throw error;
    }
  }

  /** @throws CodedError what is wrong with a stack that the snapshotter cannot serve, or that is not here */
  async prove(layers: OldestFirst<Digest>, { lease, signal }: EnsureOptions): Promise<void> {
    if (layers.length === 0) return;
    await this.#view(layers, lease, { signal });
    await discard(this.#tools.snapshots, lease, this.#options.log);
  }

  /** Gives up what processes held that have ended. @returns how many leases there were */
  sweep(signal: AbortSignal): Promise<number> {
    return this.#holds.sweep(signal);
  }

  /** A lease for the time of an import. */
  hold(signal: AbortSignal): Promise<Hold> {
    return this.#holds.take('work', signal);
  }

  /**
   * Makes a blob a layer of its own, a chain of one link, and proves that it can be used.
   *
   * @returns the layer's diff ID.
   * @throws CodedError `failed-precondition` containerd had another differ unpack it
   */
  async unpack(blob: LayerBlob, { lease, signal }: { lease: string; signal: AbortSignal }): Promise<Digest> {
    const { snapshots, log } = this.#tools;
    const key = extractKey();
    let layer: Digest;
    try {
      const mounts = await snapshots.prepare({ key, parent: '', lease, signal });
      layer = await unpackInto(this.#tools, { ...blob, mounts, key, nameOf: (found) => found, lease, signal });
    } catch (error) {
      await discard(snapshots, key, log);
      throw error;
    }
    // A layer that the snapshotter held already may be damaged: the import should say so, not a later run.
    await this.prove(stackOf(layer), { lease, signal });
    // What another differ unpacked is not known by its diff ID: it would be found only where it is the lowest.
    await this.ensure(stackOf(layer, layer), { lease, signal }).catch((error: unknown) => {
      throw isMissing(error, layer) ? unpackedByAnother(layer, this.snapshotter) : error;
    });
    return layer;
  }

  /** Makes a view that is called like the lease. */
  async #view(layers: OldestFirst<Digest>, lease: string, o: OpenOptions): Promise<readonly Mount[]> {
    const links = linksOf(layers);
    const parent = links.at(-1)?.name ?? '';
    const view = () => this.#tools.snapshots.view({ key: lease, parent, lease, signal: o.signal });
    try {
      return await view();
    } catch (error) {
      if (!isCode(error, 'not-found')) throw aboutChain(error, links);
    }
    await this.ensure(layers, { lease, ...o });
    return view().catch((error: unknown) => {
      throw aboutChain(error, links);
    });
  }

  async #close(hold: Hold, collect = false): Promise<void> {
    await discard(this.#tools.snapshots, hold.lease, this.#options.log);
    await hold.release(collect);
  }

  /** Of fixed length, since containerd's identifiers have an end; what it means is in its labels. */
  #leaseOf(digest: Digest): string {
    return `spfs-object-${createHash('sha256').update(`${this.#options.keeper()}\0${digest}`).digest('hex')}`;
  }

  async #stands(name: Digest, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#tools.snapshots.stat(name, signal);
      return true;
    } catch (error) {
      if (isCode(error, 'not-found')) return false;
      throw error;
    }
  }

  async #withHold<T>(signal: AbortSignal, work: (lease: string) => Promise<T>): Promise<T> {
    const hold = await this.#holds.take('work', signal);
    try {
      return await work(hold.lease);
    } finally {
      await hold.release(false);
    }
  }
}

function stackOf(...layers: readonly Digest[]): OldestFirst<Digest> {
  return listedOldestFirst(layers);
}
