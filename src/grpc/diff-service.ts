import { SnapshotterError } from '../errors.js';
import { packageVersion } from '../package.js';
import { fromWireDescriptor, toWireDescriptor, type DiffMethods } from '../protocol/index.js';
import type { Handlers } from './calls.js';
import type { DifferPort, SnapshotterPort } from './ports.js';

/**
 * Translates between messages and the differ. `sync_fs` needs no look: layers are always on disk before the answer.
 * `payloads` are settings for processors of media types that are not ours.
 */
export function diffHandlers<Target>(
  snapshotter: SnapshotterPort<Target>,
  differ: DifferPort<Target>,
): Handlers<DiffMethods> {
  return {
    Apply: async ({ diff, mounts }, { namespace, signal }) => {
      if (diff === null) {
        throw new SnapshotterError('invalid-argument', 'the call names no layer', { next: 'set the field "diff"' });
      }
      const descriptor = fromWireDescriptor(diff);
      const target = await snapshotter.extractTarget(mounts);
      return { applied: toWireDescriptor(await differ.apply({ descriptor, target, namespace, signal })) };
    },
    Diff: () => {
      const message = `erofs-snapshotter ${packageVersion()} applies layers and does not write them`;
      const next = 'list a differ that does in the "default" of the diff-service';
      return Promise.reject(new SnapshotterError('not-mine', message, { next }));
    },
  };
}
