import type { LayerComparer, LayerDiffer } from '../diff/index.js';
import type { Snapshotter } from '../snapshots/index.js';

/** What the services need of a snapshotter: all but its life. Calls wait until `ready` has resolved. */
export type SnapshotterPort = Omit<Snapshotter, 'recover' | 'close'>;

/** What the Diff service needs of a differ. */
export type DifferPort = Pick<LayerDiffer, 'apply'> & Pick<LayerComparer, 'compare'>;
