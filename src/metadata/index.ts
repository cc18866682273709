export { compileFilters, refAskedFor, type FilterSubject } from './filter.js';
export { abridged, checkKey, checkLabels, labelOverheadBytes } from './keys.js';
export { parseRecord, revisionOf, serializeRecord, type Serve, type SnapshotRecord } from './record.js';
export { MetadataStore } from './store.js';
export { byBytes, type Transaction } from './transaction.js';
