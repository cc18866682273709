export type { SnapshotInfo } from './list.js';
export { openRoot, type Root, type SnapshotterOptions } from './root.js';
export type { Snapshotter } from './snapshotter.js';
