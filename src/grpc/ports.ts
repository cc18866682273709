import type { LayerComparer, LayerDiffer } from '../diff/index.js';
import type { Snapshotter } from '../snapshots/index.js';

/** What the services need of a snapshotter: all but its end. */
export type SnapshotterPort = Omit<Snapshotter, 'close'>;

/** What the Diff service needs of a differ. */
export type DifferPort = Pick<LayerDiffer, 'apply'> & Pick<LayerComparer, 'compare'>;
