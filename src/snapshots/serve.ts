import { withInlays } from '../erofs/index.js';
import {
  layersOf,
  type ContainerRecord,
  type ExtractRecord,
  type ImageServe,
  type LayerPlace,
  type MergedPlace,
  type Serve,
  type ViewRecord,
} from '../metadata/index.js';
import { mapOldestFirst, type Mount, type OldestFirst } from '../vocabulary.js';
import type { MergedFolder, RootPaths } from './paths.js';

/** What a new snapshot is asked for as. */
export type Role = 'extract' | 'container' | 'view';

export interface ServeFacts {
  readonly role: Role;
  readonly layers: OldestFirst<LayerPlace>;
  /** The chain's merged image, when there is one. */
  readonly merged: MergedPlace | undefined;
}

type Decided<Made extends ExtractRecord | ContainerRecord | ViewRecord> = Pick<Made, 'kind' | 'role' | 'serve'>;

/** What is recorded of how a new snapshot is served. */
export type Decision = Decided<ExtractRecord> | Decided<ContainerRecord> | Decided<ViewRecord>;

/**
 * Chooses how a new snapshot is served, once and for its whole life: one arm a row of the table in docs/mounts.md.
 */
export function decide({ role, layers, merged }: ServeFacts): Decision {
  switch (role) {
    case 'extract':
      return { kind: 'active', role, serve: { shape: 'extract' } };
    case 'container':
      return { kind: 'active', role, serve: image(layers, merged, true) };
    case 'view':
      return {
        kind: 'view',
        role,
        serve: layers.length === 0 ? { shape: 'empty-view' } : image(layers, merged, false),
      };
  }
}

function image(layers: OldestFirst<LayerPlace>, merged: MergedPlace | undefined, writable: boolean): ImageServe {
  const [oldest, ...newer] = layers;
  if (!oldest) return { shape: 'image', image: 'none', writable };
  if (newer.length === 0) return { shape: 'image', image: 'single', layer: oldest, writable };
  if (merged) return { shape: 'image', image: 'merged', merged, layers, writable };
  return { shape: 'image', image: 'separate', layers, writable };
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

function renderImage(serve: ImageServe, paths: RootPaths): readonly Mount[] {
  const devices = devicePaths(serve, paths);
  if (serve.image === 'merged') {
    const { image } = mergedFolder(serve.merged, paths);
    return [mount('format/erofs', image, ['ro', 'loop', ...devices.map((device) => `device=${device}`)])];
  }
  // A guest stacks these as overlay lowers, which are named newest first.
  return devices.toReversed().map((layer) => mount('erofs', layer, ['ro', 'loop']));
}

/** Every file that the answer of `serve` names or implies, so that a missing one is reported before a VM is started. */
export function filesOf(serve: Serve, id: number, paths: RootPaths): readonly string[] {
  const own = paths.snapshot(id);
  if (serve.shape !== 'image') return [own.upper];
  const merged = serve.image === 'merged' ? mergedFolder(serve.merged, paths) : undefined;
  return [
    ...devicePaths(serve, paths),
    ...(merged ? [merged.image, merged.manifest, merged.disk] : []),
    ...(serve.writable ? [own.writable] : []),
  ];
}

/** The layers, and each inlay of a merged image above its layer: what the image and the descriptor refer to. */
export function devicePaths(serve: ImageServe, paths: RootPaths): OldestFirst<string> {
  const layers = pathsOf(layersOf(serve), paths);
  if (serve.image !== 'merged') return layers;
  const { merged } = serve;
  return withInlays(layers, merged.plan.inlays, (above) => mergedFolder(merged, paths).inlay(above));
}

export function mergedFolder({ id, plan }: MergedPlace, paths: RootPaths): MergedFolder {
  return paths.snapshot(id).mergedBy(plan.rules);
}

function mount(type: string, source: string, options: readonly string[]): Mount {
  return { type, source, target: '', options };
}

/** Paths of layer files, in the same order. */
export function pathsOf(layers: OldestFirst<LayerPlace>, paths: RootPaths): OldestFirst<string> {
  return mapOldestFirst(layers, ({ id, file }) => paths.snapshot(id).layer(file));
}
