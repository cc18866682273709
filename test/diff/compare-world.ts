import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { ContentSource as LayerContent } from '../../src/containerd/index.js';
import { LayerComparer, LayerDiffer } from '../../src/diff/index.js';
import { listMounts } from '../../src/host/index.js';
import { Slots } from '../../src/jobs.js';
import { silentLogger } from '../../src/log.js';
import type { SnapshotterOptions } from '../../src/snapshots/index.js';
import type { Descriptor, Labels, Mount } from '../../src/vocabulary.js';
import { Guest } from '../conformance/guest-mounts.js';
import { makeInProcessWorld } from '../conformance/in-process.js';
import { snapshotOf, type Tree } from '../conformance/tree.js';
import { loneLayers } from './lone-layers.js';
import { writeFile } from 'node:fs/promises';

export const plain = 'application/vnd.oci.image.layer.v1.tar';

interface Stored {
  readonly bytes: Buffer;
  readonly labels: Labels;
}

export interface DiffRequest {
  readonly mediaType?: string;
  readonly labels?: Labels;
  readonly sourceDateEpoch?: bigint;
  readonly signal?: AbortSignal;
}

/** A snapshotter, the comparer and the applier around one content store in memory, and a guest to write with. */
export async function makeCompareWorld(more: Partial<SnapshotterOptions> = {}) {
  const log = silentLogger();
  const world = await makeInProcessWorld(more);
  const guest = await Guest.open();
  const blobs = new Map<string, Stored>();
  const routes: string[] = [];
  let count = 0;
  const slots = new Slots(2);
  const comparer = new LayerComparer({
    slots,
    timeoutMs: 60_000,
    log,
    blobs: {
      write: async ({ content, finished }) => {
        const parts: Uint8Array[] = [];
        for await (const part of content) parts.push(part);
        const { digest, labels } = finished();
        blobs.set(digest, { bytes: Buffer.concat(parts), labels });
      },
    },
  });
  const blobPath = join(world.root, '..', 'blob');
  const content = {
    info: () => Promise.resolve({ labels: {} }),
    ...loneLayers,
    open: async ({ digest }: Descriptor): Promise<LayerContent> => {
      const { bytes } = blobs.get(digest)!;
      await writeFile(blobPath, bytes);
      return { kind: 'file', path: blobPath, size: bytes.length };
    },
  };
  const applier = new LayerDiffer({
    content,
    slots,
    conversionTimeoutMs: 60_000,
    maxLayerBytes: 2 ** 40,
    aheadAtOnce: 0,
    log,
  });

  const view = async (parent: string) => world.port.view(`view-${++count}-${parent}`, parent);
  const compare = (left: readonly Mount[], right: readonly Mount[], o: DiffRequest = {}) => {
    const { mediaType = plain, labels = {}, sourceDateEpoch, signal = new AbortController().signal } = o;
    const sides = async () => {
      const found = await world.snapshotter.compareSides({ left, right, labels, signal });
      routes.push(found.withUpper ? 'upper' : 'trees');
      return found;
    };
    const asked = {
      sides,
      mediaType,
      ref: '',
      labels,
      sourceDateEpoch,
      namespace: 'default',
      lease: undefined,
      signal,
    };
    return comparer.compare(asked);
  };
  return {
    world,
    guest,
    blobs,
    /** For each Diff, whether an upper was offered to read alone. */
    routes,
    comparer,
    view,
    compare,
    /** Prepares on `parent`, changes it as a guest, and tells what the guest saw in the end. */
    async active(key: string, parent: string, change: (root: string) => Promise<void>, overlay?: string[]) {
      const mounts = await world.port.prepare(key, parent);
      const tree = await guest.in(
        mounts,
        async (root) => {
          await change(root);
          return snapshotOf(root);
        },
        overlay,
      );
      return { mounts, tree };
    },
    /** The same, committed. */
    async layer(name: string, parent: string, change: (root: string) => Promise<void>): Promise<Tree> {
      const { tree } = await this.active(`${name}-active`, parent, change);
      await world.port.commit(name, `${name}-active`);
      return tree;
    },
    tree: async (name: string) => guest.in(await view(name), (root) => snapshotOf(root)),
    /** Applies a layer onto `parent` under a name of its own, and tells what a guest sees then. */
    async applied(descriptor: Descriptor, parent: string): Promise<{ name: string; tree: Tree }> {
      const name = `applied-${++count}`;
      const mounts = await world.port.prepare(`extract-${name}`, parent);
      const target = await world.snapshotter.extractTarget(mounts);
      await applier.apply({ descriptor, target, namespace: 'default', signal: new AbortController().signal });
      await world.port.commit(name, `extract-${name}`);
      return { name, tree: await this.tree(name) };
    },
    tar(descriptor: Descriptor): Buffer {
      const { bytes } = blobs.get(descriptor.digest)!;
      return descriptor.mediaType.endsWith('gzip') ? gunzipSync(bytes) : bytes;
    },
    /** Everything temporary: mounts below the root, mount points, unfinished files. */
    async leftovers(): Promise<string[]> {
      const mounts = (await listMounts()).map(({ target }) => target).filter((target) => target.startsWith(world.root));
      const files = await readdir(join(world.root, 'snapshots'), { recursive: true });
      return [...mounts, ...files.filter((path) => /(^|\/)(\.tmp-|rw$)/.test(path))];
    },
    async close() {
      await applier.close();
      await guest.close();
      await world.close();
    },
  };
}

export type CompareWorld = Awaited<ReturnType<typeof makeCompareWorld>>;

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** What a layer can say of a tree: all but sockets. */
export function sayable(tree: Tree): Tree {
  return Object.fromEntries(Object.entries(tree).filter(([, { type }]) => type !== 'socket'));
}
