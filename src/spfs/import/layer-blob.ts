import { createHash } from 'node:crypto';
import { CodedError } from '../../errors.js';
import type { Digest } from '../../vocabulary.js';
import { spfsNamespace } from '../chains/index.js';
import type { ImportContext, Imported } from './context.js';

export interface LayerBytes {
  readonly content: AsyncIterable<Uint8Array>;
  readonly mediaType: string;
  /** Path that it came from, for messages and as the layer's origin. */
  readonly origin: string;
  /** Bytes of the content, when they are known; asked after each part. */
  readonly total: () => number;
  /** Called when all was read, and before any of it counts. */
  readonly verify?: () => Promise<void>;
}

/**
 * Makes bytes a layer: uploads them to containerd, has them unpacked, and commits that under its diff ID. The blob is not needed
 * any more then, and goes with the lease. A failed call leaves nothing behind.
 *
 * @throws CodedError what reading, the content store, the differ and the snapshotter say, naming the path
 */
export async function importBytes(bytes: LayerBytes, context: ImportContext): Promise<Imported> {
  const { chains, signal, onProgress } = context;
  const hold = await chains.hold(signal);
  try {
    const blob = await upload(bytes, hold.lease, context);
    onProgress?.({ step: 'unpacking', done: 0, total: 1 });
    const digest = await chains.unpack({ blob, namespace: spfsNamespace }, { lease: hold.lease, signal });
    onProgress?.({ step: 'unpacking', done: 1, total: 1 });
    const layer = { kind: 'layer', digest, createdAt: new Date().toISOString(), origin: bytes.origin } as const;
    // Collected at once: the blob may be as large as the layer.
    return { object: layer, layers: [layer], release: () => hold.release(true) };
  } catch (error) {
    await hold.release(true);
    throw worded(error, bytes.origin);
  }
}

async function upload(bytes: LayerBytes, lease: string, { containerd, signal, onProgress }: ImportContext) {
  const hash = createHash('sha256');
  let size = 0;
  const measured = async function* () {
    for await (const part of bytes.content) {
      hash.update(part);
      size += part.length;
      yield part;
      onProgress?.({ step: 'reading', done: size, total: Math.max(size, bytes.total()) });
    }
    await bytes.verify?.();
  };
  let digest: Digest | undefined;
  const finished = () => {
    digest = `sha256:${hash.digest('hex')}`;
    return { digest, size, labels: {} };
  };
  const namespace = spfsNamespace;
  await containerd.blobs.write({ ref: '', content: measured(), finished, namespace, lease, signal });
  if (digest === undefined) throw new CodedError('internal', `the upload of ${bytes.origin} was never finished`);
  return { mediaType: bytes.mediaType, digest, size };
}

function worded(error: unknown, origin: string): unknown {
  if (!(error instanceof CodedError) || error.code === 'unavailable' || error.message.includes(origin)) return error;
  return new CodedError(error.code, `${origin} cannot be imported: ${error.message}`, {
    facts: { ...error.facts, path: origin },
    next: error.next,
    cause: error,
  });
}
