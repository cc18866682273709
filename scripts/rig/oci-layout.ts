import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { hexOf, isDigest, type Descriptor } from '../../src/vocabulary.js';
import { RigError } from './process.js';

export const mediaTypes = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: {
    plain: 'application/vnd.oci.image.layer.v1.tar',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  },
} as const;

export interface Manifest {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** An image whose blobs lie in a folder with the OCI image layout. */
export interface Image {
  readonly layout: string;
  /** Of the manifest. */
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  /** Digests of the uncompressed layers, oldest first. */
  readonly diffIds: readonly string[];
  /** The name that the layout gives the image, if any. */
  readonly name: string | undefined;
}

export function blobPath(layout: string, digest: string): string {
  if (!isDigest(digest))
    throw new RigError(`${JSON.stringify(digest)} is not a sha256 digest`, 'make the layout again');
  return join(layout, 'blobs', 'sha256', hexOf(digest));
}

/** The OCI rule: the first layer's diff ID, then sha256 of "<chain ID so far> <next diff ID>". */
export function chainId(diffIds: readonly string[]): string {
  return diffIds.reduce((chain, diffId) => sha256(`${chain} ${diffId}`));
}

export function sha256(bytes: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** The architecture as OCI names it. */
function architecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

/** A layout being written: blobs first, then the documents that name them. */
export class LayoutWriter {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  async open(): Promise<void> {
    await mkdir(join(this.folder, 'blobs', 'sha256'), { recursive: true });
    await writeFile(join(this.folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  }

  /** Moves a file into the layout, or copies it when it must stay. */
  async addFile(path: string, mediaType: string, keep = false): Promise<Descriptor> {
    const digest = await sha256OfFile(path);
    const target = blobPath(this.folder, digest);
    await (keep ? copyFile(path, target) : rename(path, target));
    return { mediaType, digest, size: (await stat(target)).size };
  }

  async addDocument(document: unknown, mediaType: string): Promise<Descriptor> {
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = sha256(bytes);
    await writeFile(blobPath(this.folder, digest), bytes);
    return { mediaType, digest, size: bytes.length };
  }

  /** Writes config, manifest and index of the one image of this layout. */
  async finish(repository: string, layers: readonly { descriptor: Descriptor; diffId: string }[]): Promise<Image> {
    const diffIds = layers.map((layer) => layer.diffId);
    const configuration = {
      created: '1970-01-01T00:00:00Z',
      architecture: architecture(),
      os: 'linux',
      config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['/bin/sh'] },
      rootfs: { type: 'layers', diff_ids: diffIds },
    };
    const config = await this.addDocument(configuration, mediaTypes.config);
    const manifest = { config, layers: layers.map((layer) => layer.descriptor) };
    const document = { schemaVersion: 2, mediaType: mediaTypes.manifest, ...manifest };
    const descriptor = await this.addDocument(document, mediaTypes.manifest);
    const name = `docker.io/library/${repository}:latest`;
    const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': 'latest' };
    const entry = { ...descriptor, annotations };
    const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [entry] };
    await writeFile(join(this.folder, 'index.json'), JSON.stringify(index));
    return { layout: this.folder, descriptor, manifest, diffIds, name };
  }
}

interface IndexEntry extends Descriptor {
  readonly platform?: { readonly architecture?: string; readonly os?: string };
}

/** The image of a layout for this machine. @throws RigError when it is no layout, or has no image for this machine. */
export async function readLayout(folder: string): Promise<Image> {
  const marker = await readJson<{ imageLayoutVersion?: string }>(join(folder, 'oci-layout')).catch(() => undefined);
  if (marker?.imageLayoutVersion === undefined) {
    throw new RigError(
      `${folder} is not an OCI layout: it has no oci-layout file`,
      'give what "skopeo copy … oci:DIR", "docker buildx build -o type=oci" or "docker save" (25 or later) writes',
    );
  }
  const offered: string[] = [];
  const found = await findManifest(folder, join(folder, 'index.json'), offered);
  if (!found) {
    const others = offered.length === 0 ? 'no image at all' : `only images for ${offered.join(', ')}`;
    throw new RigError(
      `${folder} has ${others}, and this machine is linux/${architecture()}`,
      'give an image for this machine',
    );
  }
  const manifest = await readJson<Manifest>(blobPath(folder, found.digest));
  const config = await readJson<{ rootfs?: { diff_ids?: readonly string[] } }>(
    blobPath(folder, manifest.config.digest),
  );
  const diffIds = config.rootfs?.diff_ids ?? [];
  if (diffIds.length === 0 || diffIds.length !== manifest.layers.length) {
    const counts = `${manifest.layers.length} layers and ${diffIds.length} diff IDs`;
    throw new RigError(`the image in ${folder} has ${counts}`, 'give a container image with at least one layer');
  }
  for (const { digest, size } of manifest.layers) {
    const path = blobPath(folder, digest);
    if ((await stat(path).catch(() => undefined))?.size !== size)
      throw incomplete(`${path} is not a file of ${size} bytes`);
  }
  const { annotations, ...descriptor } = found;
  return {
    layout: folder,
    descriptor: { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size },
    manifest,
    diffIds,
    name: annotations?.['io.containerd.image.name'] ?? annotations?.['org.opencontainers.image.ref.name'],
  };
}

/** Looks through nested indexes for the first image that this machine can run; `offered` takes the platforms of the others. */
async function findManifest(folder: string, index: string, offered: string[]): Promise<IndexEntry | undefined> {
  const wanted = architecture();
  const { manifests } = await readJson<{ manifests?: readonly IndexEntry[] }>(index);
  for (const entry of manifests ?? []) {
    if (/index|manifest\.list/.test(entry.mediaType)) {
      const found = await findManifest(folder, blobPath(folder, entry.digest), offered);
      if (found) return { ...found, annotations: { ...entry.annotations, ...found.annotations } };
    } else if (entry.platform === undefined || fits(entry.platform, wanted)) {
      return entry;
    } else {
      offered.push(`${entry.platform.os}/${entry.platform.architecture}`);
    }
  }
  return undefined;
}

function fits(platform: NonNullable<IndexEntry['platform']>, wanted: string): boolean {
  return platform.os === 'linux' && platform.architecture === wanted;
}

async function readJson<T>(path: string): Promise<T> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch (error) {
    throw incomplete(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function incomplete(what: string): RigError {
  return new RigError(`the OCI layout is not whole: ${what}`, 'save or copy the image again');
}
