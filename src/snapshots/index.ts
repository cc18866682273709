export type { SnapshotInfo } from './info.js';
export { Snapshotter, type SnapshotterOptions } from './snapshotter.js';
