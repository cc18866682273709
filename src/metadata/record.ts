import type { MergePlan } from '../erofs/index.js';
import { listedOldestFirst, type Digest, type Labels, type OldestFirst } from '../vocabulary.js';

/** A layer below a snapshot: whose folder it lies in, and its file name there. */
export interface LayerPlace {
  readonly id: number;
  readonly file: string;
}

/** A merged image: the committed snapshot in whose folder it lies, and how it was merged. */
export interface MergedPlace {
  readonly id: number;
  readonly plan: MergePlan;
}

/**
 * An answer of disks. `image`: `none` without a parent, `single` one layer by itself, `merged` through the `fsmeta.erofs` of a
 * merged image, `separate` one EROFS mount a layer because merging was impossible.
 */
export type ImageServe = { readonly shape: 'image'; readonly writable: boolean } & (
  | { readonly image: 'none' }
  | { readonly image: 'single'; readonly layer: LayerPlace }
  | { readonly image: 'merged'; readonly merged: MergedPlace; readonly layers: OldestFirst<LayerPlace> }
  | { readonly image: 'separate'; readonly layers: OldestFirst<LayerPlace> }
);

interface FolderServe<Shape extends string> {
  readonly shape: Shape;
}

/**
 * How a View or Active is served, decided once when it is created and kept for its life: the same key gives the same
 * mounts, across restarts and upgrades.
 */
export type Serve = FolderServe<'extract'> | FolderServe<'empty-view'> | ImageServe;

/** The layers that an answer consists of. */
export function layersOf(serve: Serve): OldestFirst<LayerPlace> {
  if (serve.shape !== 'image' || serve.image === 'none') return listedOldestFirst<LayerPlace>([]);
  return serve.image === 'single' ? listedOldestFirst([serve.layer]) : serve.layers;
}

/** The layer of a snapshot, as `layers` publishes and checks it. */
export interface RecordedLayer {
  readonly file: string;
  readonly uuid: string;
  readonly blocks: number;
  /** The version of the rules that its conversion followed. */
  readonly rules?: number;
  /**
   * There when Apply made the layer: the digest of the blob it came from, the digest and size in bytes of the tar in it, and the
   * image's time of modification in nanoseconds, by which a later change is noticed.
   */
  readonly applied?:
    | { readonly digest: Digest; readonly diffId: Digest; readonly tarBytes: number; readonly modified: string }
    | undefined;
}

interface Common {
  readonly id: number;
  /** The key of a View or Active, the name of a committed one. */
  readonly key: string;
  /** A committed name, or '' for none. */
  readonly parent: string;
  readonly labels: Labels;
  /** ISO 8601 in UTC, as is `updatedAt`. */
  readonly createdAt: string;
  readonly updatedAt: string;
  /** The containerd namespace of the call that made it; survives Commit; absent when version 1 wrote it. */
  readonly namespace?: string;
  /**
   * Counts the changes of the record, from 1 when it was made; it tells whether LevelDB lost the latest (absent when version 2 or
   * older wrote it).
   */
  readonly revision?: number;
}

interface Sound extends Common {
  readonly quarantine?: undefined;
}

export interface CommittedRecord extends Sound {
  readonly kind: 'committed';
  /** What it was prepared as. */
  readonly role: 'extract' | 'container';
  readonly layer: RecordedLayer;
  readonly usage?: Usage;
}

/** A snapshot that a layer is extracted into. `layer` is there once it was applied, until Commit. */
export interface ExtractRecord extends Sound {
  readonly kind: 'active';
  readonly role: 'extract';
  readonly serve: FolderServe<'extract'>;
  readonly layer?: RecordedLayer;
}

export interface ContainerRecord extends Sound {
  readonly kind: 'active';
  readonly role: 'container';
  readonly serve: ImageServe;
  readonly writableBytes?: number;
}

export interface ViewRecord extends Sound {
  readonly kind: 'view';
  readonly role: 'view';
  readonly serve: ImageServe | FolderServe<'empty-view'>;
}

interface Usage {
  readonly bytes: number;
  readonly inodes: number;
}

/** Every field that some record has. */
export interface RecordFields extends Common {
  readonly kind: 'view' | 'active' | 'committed';
  readonly role: 'extract' | 'container' | 'view';
  readonly serve?: Serve;
  readonly writableBytes?: number;
  readonly layer?: RecordedLayer;
  readonly usage?: Usage;
  /** Why the snapshot cannot be used. */
  readonly quarantine?: string;
}

/** A snapshot that cannot be used, and may lack what its kind has. */
export interface QuarantinedRecord extends RecordFields {
  readonly quarantine: string;
}

export type SoundRecord = CommittedRecord | ExtractRecord | ContainerRecord | ViewRecord;

/** What the store knows about one snapshot. */
export type SnapshotRecord = SoundRecord | QuarantinedRecord;

/** The record that these fields make; one that no sound snapshot has is quarantined, with all that it says. */
export function recordFrom(fields: RecordFields): SnapshotRecord {
  const { quarantine } = fields;
  return quarantine === undefined ? withoutQuarantine(fields) : { ...fields, quarantine };
}

export function quarantined(record: SnapshotRecord, quarantine: string): QuarantinedRecord {
  return { ...record, quarantine };
}

/** The record of a snapshot in which nothing wrong was found; it stays quarantined when it lacks what its kind has. */
export function withoutQuarantine(record: RecordFields): SnapshotRecord {
  const { kind, role, serve, writableBytes, layer, usage, quarantine: _before, ...common } = record;
  const unfit = (why: string): QuarantinedRecord => ({ ...record, quarantine: why });
  if (kind === 'committed') {
    if (!layer) return unfit('its record names no layer');
    if (role === 'view' || serve || writableBytes !== undefined) return unfit(contradiction);
    return { ...common, kind, role, layer, usage };
  }
  if (!serve) return unfit('its record does not say how it is served');
  if (usage) return unfit(contradiction);
  if (kind === 'view') {
    const fits = role === 'view' && serve.shape !== 'extract' && !layer && writableBytes === undefined;
    return fits ? { ...common, kind, role, serve } : unfit(contradiction);
  }
  if (role === 'extract' && serve.shape === 'extract' && writableBytes === undefined) {
    return { ...common, kind, role, serve, layer };
  }
  if (role === 'container' && serve.shape === 'image' && !layer) return { ...common, kind, role, serve, writableBytes };
  return unfit(contradiction);
}

const contradiction = 'its record contradicts itself';

/** The layer that a record names, of whatever kind it is. */
export function layerOf({ layer }: RecordFields): RecordedLayer | undefined {
  return layer;
}

/** How often the record was changed; 0 when no release counted it. */
export function revisionOf({ revision }: Pick<Common, 'revision'>): number {
  return revision ?? 0;
}

/** The record as the change after `before`. */
export function revised<Some extends SnapshotRecord>(record: Some, before: SnapshotRecord): Some {
  return { ...record, revision: revisionOf(before) + 1 };
}
