import { isCode, CodedError } from '../errors.js';
import type { Conversion } from './conversion.js';
import { orAborted } from '../waiting.js';
import type { RelayResult } from './thread/relay.js';

/**
 * Compares the image with what was handed on to mkfs.erofs: paths, types and sizes.
 *
 * @throws CodedError `data-loss`: a fault of ours or of the tool's, whatever the layer holds
 */
export async function requireSameTree(c: Conversion, { seed, sum, entries }: RelayResult['handedOn']): Promise<void> {
  const differs = (how: string, cause?: unknown) =>
    new CodedError('data-loss', `the image of layer ${c.digest} is not what was handed on to mkfs.erofs: ${how}`, {
      facts: { layer: c.digest, entries },
      next: "keep the layer and report this: the fault is this program's or mkfs.erofs'",
      cause,
    });
  const walk = c.inspector.walk(c.output, { seed, maximumEntries: entries }).catch((error: unknown) => {
    throw isCode(error, 'data-loss') ? differs(error.message, error) : error;
  });
  const walked = await orAborted(walk, c.signal);
  if (walked.sum === sum) return;
  throw differs(
    walked.entries === entries ? 'entries differ' : `it has ${walked.entries} entries instead of ${entries}`,
  );
}
