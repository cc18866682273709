export type { CommitRequest } from './commit.js';
export type { CreateRequest } from './create.js';
export type { SnapshotInfo } from './info.js';
export { Snapshotter, type SnapshotterOptions } from './snapshotter.js';
