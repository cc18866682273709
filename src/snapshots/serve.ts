import { withInlays, type MergePlan } from '../erofs/index.js';
import type { Serve } from '../metadata/index.js';
import { mapOldestFirst, type Mount, type OldestFirst } from '../vocabulary.js';
import type { MergedFolder, RootPaths } from './paths.js';

/** What a new snapshot is asked for as. */
export type Role = 'extract' | 'container' | 'view';

/** A layer below a new snapshot: whose folder it lies in, and its file name there. */
export interface LayerPlace {
  readonly id: number;
  readonly file: string;
}

export interface ServeFacts {
  readonly role: Role;
  readonly layers: OldestFirst<LayerPlace>;
  /** The chain's merged image, when there is one. */
  readonly merged: MergedPlace | undefined;
}

/** A merged image: the committed snapshot in whose folder it lies, and how it was merged. */
export interface MergedPlace {
  readonly id: number;
  readonly plan: MergePlan;
}

/**
 * Chooses how a new snapshot is served, once and for its whole life: one arm a row of the table in docs/mounts.md.
 */
export function decide({ role, layers, merged }: ServeFacts): Serve {
  if (role === 'extract') return { shape: 'extract' };
  const writable = role === 'container';
  const listed = { layers: layers.map(({ id }) => id), files: layers.map(({ file }) => file), writable };
  if (layers.length === 0) return writable ? { shape: 'image', image: 'none', ...listed } : { shape: 'empty-view' };
  if (layers.length === 1) return { shape: 'image', image: 'single', ...listed };
  if (merged !== undefined) {
    const { rules, inlays } = merged.plan;
    const how = rules === 'overlay' ? { rules, inlays } : {};
    return { shape: 'image', image: 'merged', merged: merged.id, ...how, ...listed };
  }
  return { shape: 'image', image: 'separate', ...listed };
}

/** Spells the mount answer of snapshot `id`. The writable mount is always the last. */
export function render(serve: Serve, id: number, paths: RootPaths): readonly Mount[] {
  const own = paths.snapshot(id);
  switch (serve.shape) {
    case 'extract':
      return [mount('bind', own.upper, ['rbind', 'rw'])];
    case 'empty-view':
      return [mount('bind', own.upper, ['rbind', 'ro'])];
    case 'image': {
      const image = renderImage(serve, paths);
      return serve.writable ? [...image, mount('ext4', own.writable, ['rw', 'loop'])] : image;
    }
  }
}

export type ImageServe = Extract<Serve, { shape: 'image' }>;

function renderImage(serve: ImageServe, paths: RootPaths): readonly Mount[] {
  const layers = layerPaths(serve, paths);
  switch (serve.image) {
    case 'none':
      return [];
    case 'single':
      return layers.map((layer) => mount('erofs', layer, ['ro', 'loop']));
    case 'merged':
      return [
        mount('format/erofs', mergedFolder(serve, paths).image, [
          'ro',
          'loop',
          ...devicePaths(serve, paths).map((device) => `device=${device}`),
        ]),
      ];
    case 'separate':
      // A guest stacks these as overlay lowers, which are named newest first.
      return layers.toReversed().map((layer) => mount('erofs', layer, ['ro', 'loop']));
  }
}

/** Every file that the answer of `serve` names or implies, so that a missing one is reported before a VM is started. */
export function filesOf(serve: Serve, id: number, paths: RootPaths): readonly string[] {
  const own = paths.snapshot(id);
  if (serve.shape !== 'image') return [own.upper];
  const merged = serve.image === 'merged' ? mergedFolder(serve, paths) : undefined;
  return [
    ...devicePaths(serve, paths),
    ...(merged ? [merged.image, merged.manifest, merged.disk] : []),
    ...(serve.writable ? [own.writable] : []),
  ];
}

/** Oldest first, as the record lists them. */
export function layerPaths(serve: ImageServe, paths: RootPaths): OldestFirst<string> {
  const places = serve.layers.map((id, index) => paths.snapshot(id).layer(serve.files[index] ?? ''));
  return places as unknown as OldestFirst<string>;
}

/** The layers, and each inlay of a merged image above its layer: what the image and the descriptor refer to. */
export function devicePaths(serve: ImageServe, paths: RootPaths): OldestFirst<string> {
  const layers = layerPaths(serve, paths);
  const { inlays } = planOf(serve);
  return inlays.length === 0 ? layers : withInlays(layers, inlays, (above) => mergedFolder(serve, paths).inlay(above));
}

/** How the merged image of an answer was merged. */
export function planOf({ rules, inlays }: ImageServe): MergePlan {
  return { rules: rules ?? 'mkfs', inlays: inlays ?? [] };
}

export function mergedFolder(serve: ImageServe, paths: RootPaths): MergedFolder {
  if (serve.merged === undefined) throw new Error('a merged answer without its merged snapshot');
  return paths.snapshot(serve.merged).mergedBy(planOf(serve).rules);
}

function mount(type: string, source: string, options: readonly string[]): Mount {
  return { type, source, target: '', options };
}

/** Paths of layer files, in the same order. */
export function pathsOf(layers: OldestFirst<LayerPlace>, paths: RootPaths): OldestFirst<string> {
  return mapOldestFirst(layers, ({ id, file }) => paths.snapshot(id).layer(file));
}
