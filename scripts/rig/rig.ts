import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { listMounts, unmount } from '../../src/host/index.js';
import { silentLogger } from '../../src/log.js';
import { Scope } from '../../src/scope.js';
import { Containerd } from './containerd.js';
import { daemon } from './daemon.js';
import type { Service } from './process.js';
import { Registry } from './registry.js';

export interface RigOptions {
  /** Further arguments of the snapshotter. */
  readonly daemonArgs?: readonly string[];
  /** As in ContainerdOptions. */
  readonly moreConfig?: string;
  /** Told how each part went: what it is and where it listens. */
  readonly onStart?: (what: string, where: string) => void;
}

/** A private containerd, registry and snapshotter in one temporary folder. */
export interface Rig {
  readonly folder: string;
  /** The snapshotter's root. */
  readonly root: string;
  readonly daemonAddress: string;
  readonly daemon: Service;
  readonly containerd: Containerd;
  readonly registry: Registry;
  /** Stops everything and removes the folder; safe to call twice. */
  close(): Promise<void>;
}

/** Starts all three. What was started is stopped again when one of them fails. */
export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const scope = new Scope(silentLogger());
  try {
    const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    scope.defer(folder, () => removeFolder(folder));
    const parts = { containerd: join(folder, 'containerd'), registry: join(folder, 'registry') };
    await mkdir(parts.containerd);
    await mkdir(parts.registry);
    const root = join(folder, 'snapshotter');
    const daemonAddress = join(folder, 'snapshotter.sock');
    const containerd = new Containerd({
      folder: parts.containerd,
      snapshotterAddress: daemonAddress,
      moreConfig: options.moreConfig,
    });
    const snapshotter = daemon({
      root,
      address: daemonAddress,
      containerdAddress: containerd.address,
      args: options.daemonArgs,
    });
    scope.defer('snapshotter', async () => {
      await snapshotter.stop();
    });
    await snapshotter.start();
    options.onStart?.('erofs-snapshotter', daemonAddress);
    scope.defer('containerd', () => containerd.stop());
    await containerd.start();
    options.onStart?.('containerd', containerd.address);
    const registry = await Registry.start(parts.registry);
    scope.defer('registry', () => registry.stop());
    options.onStart?.('registry', registry.host);
    const close = () => scope.close();
    return { folder, root, daemonAddress, daemon: snapshotter, containerd, registry, close };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

async function removeFolder(folder: string): Promise<void> {
  const below = (await listMounts()).filter((mount) => mount.target.startsWith(`${folder}/`));
  for (const mount of below.reverse()) await unmount(mount.target);
  await rm(folder, { recursive: true, force: true });
}
