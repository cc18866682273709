import type { SnapshotsMethods } from '../protocol/index.js';
import { roleOfPrepare } from '../snapshots/index.js';
import type { Handlers } from './calls.js';
import type { DifferPort, SnapshotterPort } from './ports.js';

/** Prepare as it was, which tells the differ of each snapshot that a layer will be extracted into: containerd fetches it next. */
export function tellingOfExtracts<Target, Sides>(
  prepare: Handlers<SnapshotsMethods>['Prepare'],
  snapshotter: SnapshotterPort<Target, Sides>,
  differ: DifferPort<Target, Sides>,
): Handlers<SnapshotsMethods>['Prepare'] {
  return async (request, call) => {
    const answer = await prepare(request, call);
    if (roleOfPrepare(request.key) === 'extract') {
      // One that is removed again at once is nobody's business any more.
      const target = await snapshotter.extractTarget(answer.mounts).catch(() => undefined);
      if (target !== undefined) differ.expect({ target, namespace: call.namespace });
    }
    return answer;
  };
}
