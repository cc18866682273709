export { startServer, type RunningServer } from './server.js';
export type { DifferPort, SnapshotterPort } from './ports.js';
