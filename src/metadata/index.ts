export { fromLevel } from './database.js';
export { compileFilters, refAskedFor, type FilterSubject } from './filter.js';
export { abridged, checkKey, checkLabels, labelOverheadBytes } from './keys.js';
export { recogniseDatabase, type Recognised } from './recognise.js';
export { parseRecord, revisionOf, serializeRecord, type Serve, type SnapshotRecord } from './record.js';
export { MetadataStore } from './store.js';
export { byBytes, type Transaction } from './transaction.js';
