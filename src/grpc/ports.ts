import type { CommitRequest, CreateRequest, SnapshotInfo } from '../snapshots/index.js';
import type { Descriptor, Labels, Mount } from '../vocabulary.js';

/** What the Snapshots service needs of a snapshotter. `Target` and `Sides` are its own business: this room only hands them on. */
export interface SnapshotterPort<Target, Sides> {
  /** Resolves when recovery has ended; calls wait for it. */
  readonly ready: Promise<void>;
  prepare(options: CreateRequest): Promise<readonly Mount[]>;
  view(options: CreateRequest): Promise<readonly Mount[]>;
  mounts(key: string): Promise<readonly Mount[]>;
  commit(options: CommitRequest): Promise<void>;
  remove(key: string): Promise<void>;
  stat(key: string): Promise<SnapshotInfo>;
  /** `paths` are a field mask's; none means all that can change. */
  update(info: { readonly name: string; readonly labels: Labels }, paths: readonly string[]): Promise<SnapshotInfo>;
  list(filters: readonly string[], namespace: string): AsyncIterable<SnapshotInfo>;
  usage(key: string): Promise<{ readonly bytes: number; readonly inodes: number }>;
  cleanup(): Promise<void>;
  /** Where a layer applied to these mounts belongs. */
  extractTarget(mounts: readonly Mount[]): Promise<Target>;
  /** What may be read to compare the snapshots with these mounts. */
  compareSides(options: {
    readonly left: readonly Mount[];
    readonly right: readonly Mount[];
    readonly labels: Labels;
    readonly signal: AbortSignal;
  }): Promise<Sides>;
}

/** What the Diff service needs of a differ. */
export interface DifferPort<Target, Sides> {
  /** Returns the descriptor of the uncompressed layer. */
  apply(options: {
    readonly descriptor: Descriptor;
    readonly target: Target;
    readonly namespace: string;
    readonly signal: AbortSignal;
  }): Promise<Descriptor>;
  /** Returns the descriptor of a new layer in containerd's content store. */
  compare(options: {
    /** Asked for only when the media type is the differ's. */
    readonly sides: () => Promise<Sides>;
    readonly mediaType: string;
    readonly ref: string;
    readonly labels: Labels;
    /** Nanoseconds since the epoch. */
    readonly sourceDateEpoch: bigint | undefined;
    readonly namespace: string;
    readonly lease: string | undefined;
    readonly signal: AbortSignal;
  }): Promise<Descriptor>;
}
