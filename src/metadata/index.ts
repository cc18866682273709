export { compileFilters, type FilterSubject } from './filter.js';
export { checkKey, checkLabels } from './keys.js';
export type { RebuildReport } from './rebuild.js';
export {
  parseRecord,
  serializeRecord,
  type Serve,
  type SnapshotKind,
  type SnapshotRecord,
  type SnapshotRole,
} from './record.js';
export { MetadataStore } from './store.js';
export type { Transaction } from './transaction.js';
