import { CodedError } from '../errors.js';
import { fromWireDescriptor, toWireDescriptor, type DiffMethods, type Timestamp } from '../protocol/index.js';
import type { Handlers } from './calls.js';
import type { DifferPort } from './ports.js';

/**
 * Translates between messages and the differ. `sync_fs` needs no look: layers are always on disk before the answer.
 * `payloads` are settings for processors of media types that are not ours.
 */
export function diffHandlers(differ: DifferPort): Handlers<DiffMethods> {
  return {
    Apply: async ({ diff, mounts }, { snapshotter, namespace, signal }) => {
      if (diff === null) {
        throw new CodedError('invalid-argument', 'the call names no layer', { next: 'set the field "diff"' });
      }
      const descriptor = fromWireDescriptor(diff);
      const target = await snapshotter.extractTarget(mounts);
      return { applied: toWireDescriptor(await differ.apply({ descriptor, target, namespace, signal })) };
    },
    Diff: async (
      { left, right, mediaType, ref, labels, sourceDateEpoch },
      { snapshotter, namespace, lease, signal },
    ) => {
      const sides = () => snapshotter.compareSides({ left, right, labels, signal });
      const epoch = sourceDateEpoch === null ? undefined : nanosecondsOf(sourceDateEpoch);
      const asked = { sides, mediaType, ref, labels, sourceDateEpoch: epoch };
      return { diff: toWireDescriptor(await differ.compare({ ...asked, namespace, lease, signal })) };
    },
  };
}

function nanosecondsOf({ seconds, nanos }: Timestamp): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanos);
}
