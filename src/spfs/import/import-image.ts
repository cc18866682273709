import { isCode, CodedError } from '../../errors.js';
import type { Layer, StoredObject } from '../model.js';
import { platformDigest } from '../store/index.js';
import type { ImportContext, Imported } from './context.js';
import { findImage, type FoundImage } from './image.js';

export interface ImportImageOptions extends ImportContext {
  /** As containerd spells it: with registry and tag. */
  readonly name: string;
  /** Where containerd has the image. */
  readonly namespace: string;
  /** A layer only when the image has exactly one. */
  readonly as: 'platform' | 'layer';
}

/**
 * Takes over an image that containerd has. Layers that the snapshotter holds are shared; others are unpacked from the blobs of
 * the image's namespace. A failed call leaves nothing behind.
 *
 * @throws CodedError `not-found` no such image, or layers that are neither unpacked nor in the content store;
 *   `invalid-argument` several layers where one is asked for; `failed-precondition` no image, or none for this host; what
 *   unpacking answers
 */
export async function importImage(o: ImportImageOptions): Promise<Imported> {
  const { chains, namespace, onProgress, signal } = o;
  const image = await findImage(o);
  const object = objectOf(image, o.as);
  const total = image.layers.length;
  const hold = await chains.hold(signal);
  try {
    onProgress?.({ step: 'unpacking', done: 0, total });
    const onLink = ({ position }: { position: number }) => onProgress?.({ step: 'unpacking', done: position, total });
    await chains.ensure(image.layers, { lease: hold.lease, blobs: image.blobs, onLink, signal });
    // A chain that stood already may be damaged: the import should say so, not a later run.
    await chains.prove(image.layers, { lease: hold.lease, signal });
    return { object, layers: layersOf(image, object.createdAt), release: () => hold.release(false) };
  } catch (error) {
    await hold.release(true);
    throw worded(error, image, namespace, chains.snapshotter);
  }
}

function objectOf({ name, layers }: FoundImage, as: 'platform' | 'layer'): StoredObject {
  const common = { createdAt: new Date().toISOString(), origin: name };
  const [first] = layers;
  const facts = { image: name, layers: layers.length };
  if (first === undefined) {
    throw new CodedError('failed-precondition', `image ${JSON.stringify(name)} has no layers`, {
      facts,
      next: 'give an image that has files',
    });
  }
  if (as === 'platform') return { kind: 'platform', digest: platformDigest(layers), layers, ...common };
  if (layers.length === 1) return { kind: 'layer', digest: first, ...common };
  throw new CodedError(
    'invalid-argument',
    `image ${JSON.stringify(name)} has ${layers.length} layers, and was to be imported as one`,
    { facts, next: 'import it as a platform' },
  );
}

/** Each once, though a stack may have it twice. */
function layersOf({ name, layers }: FoundImage, createdAt: string): readonly Layer[] {
  return [...new Set(layers)].map((digest) => ({ kind: 'layer', digest, createdAt, origin: name }));
}

function worded(error: unknown, { name, foreign }: FoundImage, namespace: string, snapshotter: string): unknown {
  if (!isCode(error, 'not-found')) return error;
  const mediaType = [...foreign].find(([layer]) => layer === error.facts['layer'])?.[1];
  if (mediaType !== undefined) {
    return new CodedError(
      'failed-precondition',
      `image ${JSON.stringify(name)} has a layer that registries do not give out (media type ${mediaType})`,
      { facts: { ...error.facts, image: name, mediaType }, next: 'give an image without such layers', cause: error },
    );
  }
  return new CodedError(
    'not-found',
    `image ${JSON.stringify(name)} is neither unpacked nor complete in namespace ${JSON.stringify(namespace)}: ${error.message}`,
    {
      facts: { ...error.facts, image: name, namespace },
      next: `run \`ctr -n ${namespace} images pull --snapshotter ${snapshotter} ${name}\``,
      cause: error,
    },
  );
}
