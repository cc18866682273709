import { z } from 'zod';
import { isCode, CodedError } from '../../errors.js';
import { listedOldestFirst, parseDigest, type Descriptor, type Digest, type OldestFirst } from '../../vocabulary.js';
import type { LayerBlob } from '../chains/index.js';
import type { ImportContext } from './context.js';
import { readDocument } from './documents.js';
import { unknownImage } from './image-names.js';
import { chooseManifest } from './platforms.js';

export interface ImageOptions extends Pick<ImportContext, 'containerd' | 'signal'> {
  /** As containerd spells it: with registry and tag. */
  readonly name: string;
  /** Where containerd has the image. */
  readonly namespace: string;
}

/** What an image says of its layers. Nothing is unpacked yet. */
export interface FoundImage {
  readonly name: string;
  readonly layers: OldestFirst<Digest>;
  /** Those that the snapshotter could unpack, by diff ID. */
  readonly blobs: ReadonlyMap<Digest, LayerBlob>;
  /** Media types of those that no registry gives out, by diff ID. */
  readonly foreign: ReadonlyMap<Digest, string>;
}

const indexTypes = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]);
const manifestTypes = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]);
/** Layers that must be got from elsewhere: Docker's and OCI's name for them. */
const foreignLayer = /\.foreign\.|\.nondistributable\./;

const descriptor = z.object({ mediaType: z.string(), digest: z.string(), size: z.int().min(0) });
const platform = z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() });
const index = z.object({ manifests: z.array(descriptor.extend({ platform: platform.optional() })) });
const manifest = z.object({ config: descriptor, layers: z.array(descriptor) });
const configuration = z.object({ rootfs: z.object({ diff_ids: z.array(z.string()) }) });

/**
 * Reads manifest and configuration of an image that containerd has, for this host's platform.
 *
 * @throws CodedError `not-found` no such image, or its documents are not here; `failed-precondition` it is not an image of
 *   layers for this host; `data-loss` a document is damaged; `unavailable`
 */
export async function findImage(o: ImageOptions): Promise<FoundImage> {
  const { containerd, name, namespace, signal } = o;
  const image = await containerd.images.get(name, namespace, signal).catch(async (error: unknown) => {
    if (!isCode(error, 'not-found')) throw error;
    throw unknownImage(name, namespace, await containerd.images.names(namespace, signal), error);
  });
  const read = <T>(blob: Descriptor, schema: z.ZodType<T>) => readDocument(containerd, blob, namespace, schema, signal);
  const target = await manifestOf(image.target, name, (blob) => read(blob, index));
  const { config, layers } = await read(target, manifest);
  const { rootfs } = await read(config, configuration).catch((error: unknown) => {
    // A chart, a signature or another artifact has a configuration of its own kind.
    throw isCode(error, 'failed-precondition') ? notAnImage(name, config.mediaType, error) : error;
  });
  const diffIds = rootfs.diff_ids.map((diffId) => parseDigest(diffId, `a diff ID of image ${name}`));
  if (diffIds.length !== layers.length) {
    const counts = `${layers.length} layers and ${diffIds.length} diff IDs`;
    throw new CodedError('failed-precondition', `image ${JSON.stringify(name)} has ${counts}`, {
      facts: { image: name },
      next: 'build or pull it again',
    });
  }
  return { name, ...byDiffId(diffIds, layers, namespace) };
}

/** Follows indexes, which may hold further ones, to the manifest for this host. */
async function manifestOf(
  target: Descriptor,
  name: string,
  read: (blob: Descriptor) => Promise<z.infer<typeof index>>,
): Promise<Descriptor> {
  const deepest = 4;
  let at = target;
  for (let depth = 0; depth < deepest; depth += 1) {
    if (manifestTypes.has(at.mediaType)) return at;
    if (!indexTypes.has(at.mediaType)) throw notAnImage(name, at.mediaType);
    const { manifests } = await read(at);
    const offered = manifests.map(({ platform: given, ...entry }) => ({ descriptor: entry, platform: given }));
    at = chooseManifest(offered, name);
  }
  throw notAnImage(name, at.mediaType);
}

function byDiffId(diffIds: readonly Digest[], layers: readonly Descriptor[], namespace: string) {
  const blobs = new Map<Digest, LayerBlob>();
  const foreign = new Map<Digest, string>();
  for (const [position, diffId] of diffIds.entries()) {
    const blob = layers[position];
    if (blob === undefined) continue;
    if (foreignLayer.test(blob.mediaType)) foreign.set(diffId, blob.mediaType);
    else blobs.set(diffId, { blob, namespace });
  }
  // OCI image specification: both lists begin with the base layer.
  return { layers: listedOldestFirst(diffIds), blobs, foreign };
}

const schema1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;

function notAnImage(name: string, mediaType: string, cause?: unknown): CodedError {
  const old = schema1.test(mediaType);
  const what = old ? 'has a manifest of schema 1, which does not say its diff IDs' : 'is not an image of layers';
  return new CodedError(
    'failed-precondition',
    `${JSON.stringify(name)} ${what} (media type ${JSON.stringify(mediaType)})`,
    {
      facts: { image: name, mediaType },
      next: old ? 'pull it from a registry that offers schema 2 or OCI' : 'give the name of a container image',
      cause,
    },
  );
}
