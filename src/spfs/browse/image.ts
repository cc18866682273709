import { CodedError } from '../../errors.js';
import type { ErofsImage } from '../../erofs/index.js';
import { oldestFirst, newestFirst, type Mount } from '../../vocabulary.js';

const deviceOption = 'device=';

/**
 * The one image that shows all files of a stack, from the Mounts answer of a View; undefined for an empty stack. Pure.
 *
 * @throws CodedError `failed-precondition` when the layers could not be merged into one image
 */
export function imageOf(mounts: readonly Mount[]): ErofsImage | undefined {
  const [mount, ...others] = mounts;
  if (mount === undefined) return undefined;
  if (others.length > 0 || (mount.type !== 'erofs' && mount.type !== 'format/erofs')) {
    const types = mounts.map(({ type }) => type).join(', ');
    throw new CodedError('failed-precondition', `the ${mounts.length} layers are not merged into one image`, {
      facts: { types },
      next: 'look at one layer at a time; the log of erofs-snapshotter says why they are not merged',
    });
  }
  const devices = mount.options
    .filter((option) => option.startsWith(deviceOption))
    .map((option) => option.slice(deviceOption.length));
  // A Mounts answer lists the devices in layer order.
  return { path: mount.source, devices: oldestFirst(newestFirst(devices.toReversed())) };
}
