export { startServer, type RunningServer, type ServerOptions } from './server.js';
export type { DifferPort, SnapshotInfo, SnapshotterPort } from './ports.js';
