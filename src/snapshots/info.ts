import type { SnapshotRecord } from '../metadata/index.js';
import { nanosecondsOf } from '../timestamps.js';
import type { Labels } from '../vocabulary.js';

export type SnapshotKind = SnapshotRecord['kind'];

/** What Stat and List answer about a snapshot. */
export interface SnapshotInfo {
  /** The key of an active snapshot or a view, the name of a committed one. */
  readonly name: string;
  /** Empty when there is none. */
  readonly parent: string;
  readonly kind: SnapshotKind;
  readonly labels: Labels;
  /** Nanoseconds since the epoch. */
  readonly createdAt: bigint;
  readonly updatedAt: bigint;
}

export function infoOf(record: SnapshotRecord): SnapshotInfo {
  return {
    name: record.key,
    parent: record.parent,
    kind: record.kind,
    labels: record.labels,
    createdAt: nanosecondsOf(record.createdAt),
    updatedAt: nanosecondsOf(record.updatedAt),
  };
}
