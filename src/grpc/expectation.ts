import { roleOfPrepare } from '../snapshots/index.js';
import type { DifferPort, SnapshotterPort } from './ports.js';

/** Prepare, which tells the differ of each snapshot that a layer will be extracted into: containerd fetches it next. */
export function tellingOfExtracts<Target, Sides>(
  snapshotter: SnapshotterPort<Target, Sides>,
  differ: DifferPort<Target, Sides>,
): SnapshotterPort<Target, Sides>['prepare'] {
  return async (request) => {
    const mounts = await snapshotter.prepare(request);
    if (request.namespace !== undefined && roleOfPrepare(request.key) === 'extract') {
      // A snapshot that is removed again at once has nothing to expect any more.
      const target = await snapshotter.extractTarget(mounts).catch(() => undefined);
      if (target !== undefined) differ.expect({ target, namespace: request.namespace });
    }
    return mounts;
  };
}
