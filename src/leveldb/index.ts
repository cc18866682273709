export { logFiles, openTables, parseCounters, type Operation, type Table, type Tables } from './database.js';
export { fromLevel, isLevelError, wasClosed } from './errors.js';
export { recogniseDatabase, type Recognised } from './recognise.js';
