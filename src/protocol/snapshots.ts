import type { Labels, Mount } from '../vocabulary.js';
import type { ServerStream, ServiceContract, Unary } from './service.js';
import type { Empty, Int64, Timestamp } from './values.js';

/** `containerd.services.snapshots.v1`: the messages as they arrive, every field present; a message not sent is null. */
export interface CreateSnapshotRequest {
  readonly snapshotter: string;
  readonly key: string;
  readonly parent: string;
  readonly labels: Labels;
}

export interface MountsResponse {
  readonly mounts: readonly Mount[];
}

export interface KeyRequest {
  readonly snapshotter: string;
  readonly key: string;
}

export interface CommitSnapshotRequest {
  readonly snapshotter: string;
  readonly name: string;
  readonly key: string;
  readonly labels: Labels;
  /** Empty unless containerd (2.2 or later) names the parent only now. */
  readonly parent: string;
}

export interface SnapshotInfoMessage {
  readonly name: string;
  readonly parent: string;
  readonly kind: 'UNKNOWN' | 'VIEW' | 'ACTIVE' | 'COMMITTED';
  readonly createdAt: Timestamp | null;
  readonly updatedAt: Timestamp | null;
  readonly labels: Labels;
}

export interface InfoResponse {
  readonly info: SnapshotInfoMessage | null;
}

export interface UpdateSnapshotRequest {
  readonly snapshotter: string;
  readonly info: SnapshotInfoMessage | null;
  /** Paths as sent, unescaped: what follows `labels.` is a label's key, dots and slashes included. */
  readonly updateMask: { readonly paths: readonly string[] } | null;
}

export interface ListSnapshotsRequest {
  readonly snapshotter: string;
  readonly filters: readonly string[];
}

export interface ListSnapshotsResponse {
  readonly info: readonly SnapshotInfoMessage[];
}

export interface UsageResponse {
  /** Bytes. */
  readonly size: Int64;
  readonly inodes: Int64;
}

export interface CleanupRequest {
  readonly snapshotter: string;
}

export interface SnapshotsMethods {
  readonly Prepare: Unary<CreateSnapshotRequest, MountsResponse>;
  readonly View: Unary<CreateSnapshotRequest, MountsResponse>;
  readonly Mounts: Unary<KeyRequest, MountsResponse>;
  readonly Commit: Unary<CommitSnapshotRequest, Empty>;
  readonly Remove: Unary<KeyRequest, Empty>;
  readonly Stat: Unary<KeyRequest, InfoResponse>;
  readonly Update: Unary<UpdateSnapshotRequest, InfoResponse>;
  readonly List: ServerStream<ListSnapshotsRequest, ListSnapshotsResponse>;
  readonly Usage: Unary<KeyRequest, UsageResponse>;
  readonly Cleanup: Unary<CleanupRequest, Empty>;
}

export const snapshotsService: ServiceContract<SnapshotsMethods> = {
  name: 'containerd.services.snapshots.v1.Snapshots',
  file: 'containerd/services/snapshots/v1/snapshots.proto',
};
