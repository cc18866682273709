import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsClient } from '../../src/containerd/index.js';
import { CodedError, type ErrorCode } from '../../src/errors.js';
import { run } from '../../src/host/index.js';
import { silentLogger } from '../../src/log.js';
import { Scope } from '../../src/scope.js';
import type { Descriptor, Digest, Mount } from '../../src/vocabulary.js';
import { Containerd, snapshotterName } from '../../scripts/rig/containerd.js';
import { daemon } from '../../scripts/rig/daemon.js';
import { mediaTypes } from '../../scripts/rig/oci-layout.js';
import type { Service } from '../../scripts/rig/process.js';
import { Guest } from '../conformance/guest-mounts.js';
import { snapshotOf, type Tree } from '../conformance/tree.js';
import type { ImageArchive } from './image-archive.js';

/** containerd's two snapshotters that need nothing but folders, and ours. */
export type SnapshotterName = 'overlayfs' | 'native' | typeof snapshotterName;

/** What came of a stack of layers: the tree that a program sees, or which layer was refused, and why. */
export type Outcome = { readonly tree: Tree } | { readonly refused: Refused };

export interface Refused {
  /** Counted from the oldest, which is 0; Infinity when the finished stack was refused. */
  readonly layer: number;
  readonly code: ErrorCode;
  readonly message: string;
}

const namespace = 'default';
const leaseMs = 2 * 60 * 60 * 1000;
const deadlineMs = 60_000;

/** Overlay's own notes, which no program sees through an overlay. `user.overlay.*` is a user's. */
const overlaysOwn = /^trusted\.overlay\.(?!overlay\.)/;

/** A private containerd with our daemon, driven as its own unpacker drives its snapshotters and differs. */
export class JudgeWorld {
  readonly folder: string;
  readonly containerd: Containerd;
  readonly daemon: Service;
  readonly root: string;
  readonly #client: ReturnType<typeof connectAsClient>;
  readonly #lease: string;
  readonly #scope: Scope;
  readonly #never = new AbortController().signal;
  #stacks = 0;

  private constructor(
    given: Pick<JudgeWorld, 'folder' | 'containerd' | 'daemon' | 'root'>,
    lease: string,
    scope: Scope,
  ) {
    this.folder = given.folder;
    this.containerd = given.containerd;
    this.daemon = given.daemon;
    this.root = given.root;
    this.#lease = lease;
    this.#scope = scope;
    this.#client = connectTo(given.containerd);
    scope.defer('client', () => this.#client.close());
  }

  static async start(daemonArgs: readonly string[] = []): Promise<JudgeWorld> {
    const scope = new Scope(silentLogger());
    try {
      const folder = await mkdtemp(join(tmpdir(), 'erofs-judge-'));
      scope.defer('folder', () => rm(folder, { recursive: true, force: true }));
      const address = join(folder, 'snapshotter.sock');
      const root = join(folder, 'snapshotter');
      const containerd = new Containerd({ folder: join(folder, 'containerd'), snapshotterAddress: address });
      await mkdir(join(folder, 'containerd'));
      const service = daemon({ root, address, containerdAddress: containerd.address, args: daemonArgs });
      scope.defer('snapshotter', async () => {
        await service.stop();
      });
      await service.start();
      scope.defer('containerd', () => containerd.stop());
      await containerd.start();
      const client = connectTo(containerd);
      const lease = await client.leases.create(namespace, leaseMs, new AbortController().signal);
      client.close();
      return new JudgeWorld({ folder, containerd, daemon: service, root }, lease, scope);
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#scope.close();
  }

  /** Puts the layers' tars into the content store, where any snapshotter finds them. */
  async ingest(layers: readonly Uint8Array[], mediaType: string = mediaTypes.layer.plain): Promise<Descriptor[]> {
    const blobs = layers.map(async (content): Promise<Descriptor> => {
      const digest: Digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
      await this.#client.blobs.write({
        ref: '',
        content: one(content),
        finished: () => ({ digest, size: content.length, labels: {} }),
        namespace,
        lease: this.#lease,
        signal: this.#never,
      });
      return { mediaType, digest, size: content.length };
    });
    return await Promise.all(blobs);
  }

  /** Unpacks a stack of layers, oldest first, and looks at it through a View, as a guest or a container would. */
  async stack(snapshotter: SnapshotterName, layers: readonly Descriptor[]): Promise<Outcome> {
    const stack = (this.#stacks += 1);
    const names: string[] = [];
    for (const [layer, blob] of layers.entries()) {
      const name = `stack-${stack}-${layer}`;
      const refused = await this.#unpack(snapshotter, blob, name, names.at(-1) ?? '', layer);
      if (refused) return { refused };
      names.push(name);
    }
    return await this.#view(snapshotter, names.at(-1)!, namespace);
  }

  /** Imports an image with containerd's own program, as a person does, and looks at it through a View. */
  async imported(snapshotter: SnapshotterName, { tar, chain }: ImageArchive): Promise<Outcome> {
    const path = join(this.folder, `image-${(this.#stacks += 1)}.tar`);
    await writeFile(path, tar);
    // Kept in the namespace of the snapshotter, since containerd unpacks an image of one namespace once.
    const args = ['--namespace', snapshotter, 'images', 'import', '--snapshotter', snapshotter, path];
    const { exitCode, stdout, stderr } = await this.containerd.tryCtr(args);
    await rm(path);
    if (exitCode !== 0) {
      const code = /InvalidArgument|invalid argument/i.test(stderr) ? 'invalid-argument' : 'internal';
      return { refused: { layer: 0, code, message: `${stdout}${stderr}` } };
    }
    return await this.#view(snapshotter, chain, snapshotter);
  }

  async #view(snapshotter: SnapshotterName, parent: string, space: string): Promise<Outcome> {
    const key = `view-${(this.#stacks += 1)}`;
    const lease = await this.#leaseIn(space);
    let mounts: readonly Mount[];
    try {
      mounts = await this.#client.snapshots(snapshotter, space).view({ key, parent, lease, signal: this.#never });
    } catch (error) {
      return { refused: { layer: Infinity, ...refusalOf(error) } };
    }
    return { tree: snapshotter === snapshotterName ? await seenByGuest(mounts) : await this.#seenHere(mounts) };
  }

  #leaseIn(space: string): Promise<string> {
    return space === namespace ? Promise.resolve(this.#lease) : this.#client.leases.create(space, leaseMs, this.#never);
  }

  async #unpack(
    snapshotter: SnapshotterName,
    blob: Descriptor,
    name: string,
    parent: string,
    layer: number,
  ): Promise<Refused | undefined> {
    const snapshots = this.#client.snapshots(snapshotter, namespace);
    const [lease, signal] = [this.#lease, this.#never];
    const key = `extract-${name}`;
    try {
      const mounts = await snapshots.prepare({ key, parent, lease, signal });
      await this.#client.differ.apply({ blob, namespace, mounts, signal });
      await snapshots.commit({ name, key, lease, signal });
      return undefined;
    } catch (error) {
      return { layer, ...refusalOf(error) };
    }
  }

  async #seenHere(mounts: readonly Mount[]): Promise<Tree> {
    const [mount, ...others] = mounts;
    if (mount === undefined || others.length > 0) throw new Error(`not one mount but ${mounts.length}`);
    const target = await mkdtemp(join(this.folder, 'seen-'));
    const options = mount.options.filter((option) => option !== 'rbind');
    const how = mount.type === 'bind' ? ['--bind'] : ['-t', mount.type];
    await run('mount', [...how, '-o', options.join(','), mount.source, target], { deadlineMs });
    try {
      return await snapshotOf(target, overlaysOwn);
    } finally {
      await run('umount', [target], { deadlineMs });
    }
  }
}

async function seenByGuest(mounts: readonly Mount[]): Promise<Tree> {
  const guest = await Guest.open();
  try {
    return await guest.in(mounts, (root) => snapshotOf(root, overlaysOwn));
  } finally {
    await guest.close();
  }
}

function connectTo(containerd: Containerd) {
  return connectAsClient({ address: containerd.address, defaultNamespace: namespace, log: silentLogger() });
}

/** What is no answer of a snapshotter or differ is thrown on. */
function refusalOf(error: unknown): { readonly code: ErrorCode; readonly message: string } {
  if (error instanceof CodedError) return { code: error.code, message: error.message };
  throw error;
}

async function* one(content: Uint8Array) {
  yield await Promise.resolve(content);
}
