import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { isCode } from '../errors.js';
import { fromInt64, type ContentMethods, type ServiceClient } from '../protocol/index.js';
import { isDigest, type Descriptor, type Digest } from '../vocabulary.js';
import { inNamespace, stallMs } from './connection.js';
import type { ContentSource } from './content-source.js';
import { asContainerdError } from './errors.js';

/** containerd puts this label on a manifest, with a layer's position from 0 and the layer's digest as its value. */
const layerLabel = 'containerd.io/gc.ref.content.l.';

/** The largest manifest that the OCI distribution specification makes registries take. */
const largestManifest = 4 * 1024 * 1024;
/** A base layer can be part of any number of images, and no call says which one is being pulled: one of those that came last. */
const mostManifests = 2;
/** More than images have: overlay stops at 128 layers or so, and registries at fewer. */
const mostLayers = 128;

const descriptor = z.object({ mediaType: z.string(), digest: z.string(), size: z.int().min(0) });
/** What is needed of an OCI or Docker image manifest, and of the configuration that it names. */
const manifest = z.object({ config: descriptor, layers: z.array(descriptor) });
const configuration = z.object({ rootfs: z.object({ diff_ids: z.array(z.string()) }) });

/** A layer as its image names it. */
export interface ManifestLayer {
  readonly descriptor: Descriptor;
  /** The digest of the layer's tar, when the image's configuration is here and says so. */
  readonly diffId: Digest | undefined;
}

export interface ManifestReader {
  readonly client: ServiceClient<ContentMethods>;
  readonly socketPath: string;
  readonly open: (descriptor: Descriptor, namespace: string) => Promise<ContentSource>;
}

/**
 * The layers that follow the one at `position` in the images that have `digest` there: of a handful of
 * images at most.
 *
 * @throws CodedError what containerd answers; errors of zod or JSON for a manifest that is none
 */
export async function layersAfter(
  reader: ManifestReader,
  digest: Digest,
  position: number,
  namespace: string,
): Promise<readonly ManifestLayer[]> {
  const images = await imagesWith(reader, digest, [position], namespace);
  return images.flatMap((layers) => layers.slice(position + 1));
}

/** All layers of the images that have `digest` among them: of a handful of images at most. @throws as `layersAfter` */
export async function layersWith(
  reader: ManifestReader,
  digest: Digest,
  namespace: string,
): Promise<readonly ManifestLayer[]> {
  const positions = Array.from({ length: mostLayers }, (_, position) => position);
  return (await imagesWith(reader, digest, positions, namespace)).flat();
}

async function imagesWith(
  { client, socketPath, open }: ManifestReader,
  digest: Digest,
  positions: readonly number[],
  namespace: string,
): Promise<readonly (readonly ManifestLayer[])[]> {
  const read = async (blob: Descriptor) => JSON.parse(await textOf(await open(blob, namespace))) as unknown;
  const images: ManifestLayer[][] = [];
  for (const { digest: found, size } of await manifestsWith(client, socketPath, digest, positions, namespace)) {
    const { config, layers } = manifest.parse(await read({ mediaType: '', digest: found, size }));
    const diffIds = await diffIdsOf(config, read);
    images.push(layers.map((layer, index) => ({ descriptor: layer, diffId: diffIds[index] })));
  }
  return images;
}

/** Empty while the configuration is not here yet. */
async function diffIdsOf(
  config: Descriptor,
  read: (blob: Descriptor) => Promise<unknown>,
): Promise<readonly (Digest | undefined)[]> {
  try {
    const { rootfs } = configuration.parse(await read(config));
    return rootfs.diff_ids.map((diffId) => (isDigest(diffId) ? diffId : undefined));
  } catch (error) {
    if (isCode(error, 'not-found')) return [];
    throw error;
  }
}

async function manifestsWith(
  client: ServiceClient<ContentMethods>,
  socketPath: string,
  digest: Digest,
  positions: readonly number[],
  namespace: string,
): Promise<{ digest: string; size: number }[]> {
  // containerd takes what one of them selects.
  const filters = positions.map((position) => `labels."${layerLabel}${position}"==${JSON.stringify(digest)}`);
  const found: { digest: string; size: number; createdAt: number }[] = [];
  try {
    for await (const { info } of client.stream('List', { filters }, { metadata: inNamespace(namespace), stallMs })) {
      for (const blob of info) {
        const size = fromInt64(blob.size, `the size of manifest ${blob.digest}`);
        const createdAt = Number(blob.createdAt?.seconds ?? 0);
        if (size <= largestManifest) found.push({ digest: blob.digest, size, createdAt });
      }
    }
  } catch (error) {
    throw asContainerdError(error, `find the manifests with layer ${digest}`, socketPath);
  }
  return found.sort((left, right) => right.createdAt - left.createdAt).slice(0, mostManifests);
}

async function textOf(source: ContentSource): Promise<string> {
  if (source.kind === 'file') return readFile(source.path, 'utf8');
  const parts: Uint8Array[] = [];
  for await (const part of source.stream) parts.push(part);
  return Buffer.concat(parts).toString('utf8');
}
