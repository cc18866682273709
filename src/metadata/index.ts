export { compileFilters, refAskedFor, type FilterSubject } from './filter.js';
export { abridged, checkKey, checkLabels, labelOverheadBytes } from './keys.js';
export {
  layerOf,
  layersOf,
  quarantined,
  revisionOf,
  withoutQuarantine,
  type CommittedRecord,
  type ContainerRecord,
  type ExtractRecord,
  type ImageServe,
  type LayerPlace,
  type MergedPlace,
  type Serve,
  type SnapshotRecord,
  type SoundRecord,
  type ViewRecord,
} from './record.js';
export { parseRecord, serializeRecord } from './stored-record.js';
export type { ChainLink } from './chain.js';
export { MetadataStore } from './store.js';
export { byBytes, type Transaction } from './transaction.js';
