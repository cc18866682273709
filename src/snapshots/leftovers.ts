import { realpath } from 'node:fs/promises';

import {
  detachLoopDevice,
  isLoopDeviceInUse,
  listLoopDevices,
  listMounts,
  removeTree,
  unmount,
  type LoopDevice,
} from '../host/index.js';
import type { Context } from './context.js';
import { RootPaths } from './paths.js';

/**
 * Takes away the mounts and loop devices that releases left which mounted in the host's own namespace, where a kill during a
 * Commit or Diff left them for good. Today's go with their process. Mounts and devices that others made, or use, are never touched.
 */
export async function releaseLeftovers(context: Pick<Context, 'paths' | 'log'>): Promise<void> {
  // The kernel tells real paths, and a link may lead to the root.
  const real = new RootPaths(await realpath(context.paths.root));
  await unmountLeftovers(context, real);
  await detachLeftovers(context, real);
}

/** Only Commit and Diff mounted below the root, and none of them runs now: a guest's mounts are elsewhere. */
async function unmountLeftovers({ log }: Pick<Context, 'log'>, real: RootPaths): Promise<void> {
  // The newest first, since an overlay stands on others.
  for (const { target } of (await listMounts()).reverse()) {
    if (!real.isMountPoint(target)) continue;
    try {
      await unmount(target);
      await removeTree(target);
      log.info({ target }, 'unmounted what a call that was cut short had mounted');
    } catch (error) {
      log.warn({ err: error, target }, 'could not unmount what a call that was cut short had mounted');
    }
  }
}

async function detachLeftovers({ log }: Pick<Context, 'log'>, real: RootPaths): Promise<void> {
  for (const loop of (await listLoopDevices()).filter((device) => mayBeOurs(device, real))) {
    const { device, image, deleted } = loop;
    try {
      if (await isLoopDeviceInUse(device)) {
        log.info({ device, image, deleted }, 'a loop device below the root is in use, and stays');
        continue;
      }
      await detachLoopDevice(device);
      log.info({ device, image, deleted }, 'detached what a call that was cut short had attached');
    } catch (error) {
      log.warn({ err: error, device, image }, 'could not detach what a call that was cut short had attached');
    }
  }
}

/**
 * Ours were attached by losetup: without autoclear, as mount(8) and containerd have it, and layers and merged images for
 * reading alone. A file that has no name any more, or lies in the trash, is of no use to others that might attach it.
 */
function mayBeOurs({ image, deleted, readOnly, autoclear }: LoopDevice, real: RootPaths): boolean {
  if (autoclear || !real.contains(image)) return false;
  if (deleted || real.isInTrash(image)) return true;
  const place = real.imageAt(image);
  return place === 'writable' || (place === 'layer' && readOnly);
}
