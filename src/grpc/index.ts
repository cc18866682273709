export { startServer, type RunningServer } from './server.js';
export type { DifferPort, SnapshotInfo, SnapshotterPort } from './ports.js';
