import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { listMounts } from '../../src/host/index.js';
import { snapshotterName } from '../../scripts/rig/containerd.js';
import { buildDemoImage } from '../../scripts/rig/demo-image.js';
import { chainId, type Image } from '../../scripts/rig/oci-layout.js';
import { pushImage } from '../../scripts/rig/push.js';
import { type Rig, type RigOptions, startRig } from '../../scripts/rig/rig.js';
import { SnapshotsClient } from '../../scripts/rig/snapshots-client.js';

/** A rig whose registry has the demo image. */
export interface World extends Rig {
  readonly image: Image;
  /** To pull the image by. */
  readonly name: string;
  /** Chain IDs of the image, oldest first. */
  readonly chain: readonly string[];
  readonly client: SnapshotsClient;
  /** Standard output of `ctr snapshots --snapshotter spin-erofs …`. */
  snapshots(...args: readonly string[]): Promise<string>;
  pull(...args: readonly string[]): Promise<void>;
  /** Removes the image of a namespace and waits for garbage collection. */
  removeImage(name?: string, namespace?: string): Promise<void>;
  /** What lies in the snapshotter's root, apart from its database, and what is mounted below it. */
  leftovers(): Promise<{ snapshots: string[]; trash: string[]; mounts: string[] }>;
}

export async function startWorld(options: RigOptions = {}): Promise<World> {
  const rig = await startRig(options);
  try {
    const layout = join(rig.folder, 'image');
    await mkdir(layout);
    const image = await buildDemoImage(layout);
    const name = await pushImage(image, rig.registry.host, 'demo', 'latest');
    const client = new SnapshotsClient(rig.containerd.address);
    const { ctr } = bound(rig);
    return {
      ...rig,
      image,
      name,
      client,
      chain: image.diffIds.map((_, index) => chainId(image.diffIds.slice(0, index + 1))),
      snapshots: (...args) => ctr('snapshots', '--snapshotter', snapshotterName, ...args),
      pull: async (...args) => {
        await ctr('images', 'pull', '--plain-http', '--snapshotter', snapshotterName, ...args, name);
      },
      removeImage: async (image = name, namespace = 'default') => {
        await ctr('--namespace', namespace, 'images', 'rm', '--sync', image);
      },
      leftovers: async () => ({
        snapshots: await readdir(join(rig.root, 'snapshots')),
        trash: await readdir(join(rig.root, 'trash')),
        mounts: (await listMounts()).map((mount) => mount.target).filter((target) => target.startsWith(rig.folder)),
      }),
      close: async () => {
        client.close();
        await rig.close();
      },
    };
  } catch (error) {
    await rig.close();
    throw error;
  }
}

function bound({ containerd }: Rig) {
  return { ctr: (...args: readonly string[]) => containerd.ctr(args) };
}

export const nothingLeft = { snapshots: [], trash: [], mounts: [] };
