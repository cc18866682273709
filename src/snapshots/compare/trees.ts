import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { CodedError } from '../../errors.js';
import type { PrivateMounts } from '../../host/index.js';
import type { ComparedTree, OverlayNotes } from '../../layers/index.js';
import type { LayerPlace } from '../../metadata/index.js';
import type { Scope } from '../../scope.js';
import type { ComparedSide } from './side.js';
import type { Context } from '../context.js';
import { mountUpper, type GuestDisks, type MountedFolder } from '../guest/mount.js';
import { devicePaths, mergedFolder } from '../serve.js';

export interface Mounting {
  readonly context: Context;
  readonly mounts: PrivateMounts;
  readonly quiesced: boolean;
  readonly guestDisks: GuestDisks;
  readonly signal: AbortSignal;
}

/** mount(2) takes one page of options; what mountReadOnly adds fits into the rest. */
const longestLowers = 3_900;

/** Mounts one layer by itself at `target`. */
export async function mountLayer(o: Mounting, { id, file }: LayerPlace, target: string): Promise<MountedFolder> {
  return mountErofs(o, o.context.paths.snapshot(id).layer(file), [], target);
}

/**
 * Mounts a whole side below `folder`, until the mounts are closed, which happens before the scope ends.
 *
 * @throws CodedError as `mountUpper`; `failed-precondition` when there are more layers than one overlay mount takes
 */
export async function mountTree(o: Mounting, scope: Scope, side: ComparedSide, folder: string): Promise<ComparedTree> {
  await mkdir(folder, { mode: 0o700 });
  const image = await mountImage(o, side, folder);
  if (!side.active) return image;
  const upper = await mountUpper(scope, o.mounts, o.context.paths.snapshot(side.active.id), o);
  const whole = await mountOverlay(o, [upper.inside, image.inside], join(folder, 'whole'), upper.notes);
  return { ...whole, mostHoleBytes: upper.mostHoleBytes };
}

type MountedTree = ComparedTree & MountedFolder;

async function mountImage(o: Mounting, side: ComparedSide, folder: string): Promise<MountedTree> {
  const { serve } = side;
  const { paths } = o.context;
  const target = join(folder, 'image');
  const plain = (mounted: MountedFolder): MountedTree => ({ ...mounted, throughOverlay: false });
  if (serve.shape !== 'image' || serve.image === 'none') {
    await mkdir(target, { mode: 0o755 });
    return plain({ path: target, inside: target });
  }
  switch (serve.image) {
    case 'single':
      return plain(await mountLayer(o, serve.layer, target));
    case 'merged': {
      const { image } = mergedFolder(serve.merged, paths);
      return plain(await mountErofs(o, image, devicePaths(serve, paths), target));
    }
    case 'separate': {
      const lowers: string[] = [];
      for (const [index, layer] of serve.layers.entries()) {
        lowers.unshift((await mountLayer(o, layer, join(folder, String(index)))).inside);
      }
      return mountOverlay(o, lowers, target);
    }
  }
}

async function mountErofs(
  { mounts, signal }: Mounting,
  image: string,
  devices: readonly string[],
  target: string,
): Promise<MountedFolder> {
  await mkdir(target, { mode: 0o700 });
  const options = ['nosymfollow'];
  return {
    path: await mounts.mountReadOnly({ image, devices, target, type: 'erofs', options, signal }),
    inside: target,
  };
}

/** What a guest may have used is followed: directories it renamed, and files of which it changed the attributes alone. */
async function mountOverlay(
  { mounts, signal }: Mounting,
  newestFirst: readonly string[],
  target: string,
  notes: OverlayNotes = 'trusted',
): Promise<MountedTree> {
  const lowers = newestFirst.join(':');
  if (lowers.length > longestLowers || /[,\\"]/.test(lowers) || newestFirst.some((path) => path.includes(':'))) {
    throw new CodedError(
      'failed-precondition',
      `${newestFirst.length} layers cannot be stacked on this host to compare them: their paths are too long, or hold one of , : \\ "`,
      { facts: { layers: newestFirst.length }, next: 'choose a shorter and plainer root' },
    );
  }
  await mkdir(target, { mode: 0o700 });
  // What only attributes of were copied up is known to an overlay with notes of the ordinary kind alone.
  const options = ['nosymfollow', `lowerdir=${lowers}`, notes === 'user' ? 'userxattr' : 'metacopy=on'];
  const path = await mounts.mountReadOnly({ source: 'overlay', target, type: 'overlay', options, signal });
  return { path, inside: target, throughOverlay: true };
}
