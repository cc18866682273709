export type { CommitRequest } from './commit.js';
export type { SnapshotInfo } from './info.js';
export type { CreateRequest } from './requests.js';
export { Snapshotter, type SnapshotterOptions } from './snapshotter.js';
