export type { SnapshotInfo } from './list.js';
export { Snapshotter, type SnapshotterOptions } from './snapshotter.js';
