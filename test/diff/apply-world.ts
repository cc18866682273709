import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { onTestFinished } from 'vitest';
import type { ContentSource as LayerContent } from '../../src/containerd/index.js';
import { LayerDiffer, type LayerDifferOptions } from '../../src/diff/index.js';
import { Slots } from '../../src/jobs.js';
import type { ExtractTarget, LayerTar } from '../../src/layers/index.js';
import { silentLogger } from '../../src/log.js';
import type { Descriptor, Digest } from '../../src/vocabulary.js';
import { temporaryFolder } from '../host/temporary.js';
import { loneLayers } from './lone-layers.js';

export const plain = 'application/vnd.oci.image.layer.v1.tar';
export const gzip = `${plain}+gzip`;
export const zstd = `${plain}+zstd`;

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Gzip members in a row, as eStargz writes them. */
export function gzipMembers(...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(parts.map((part) => gzipSync(part)));
}

type ApplyRequest = {
  readonly mediaType: string;
  /** What the descriptor says when it lies. */
  readonly digest?: string;
  readonly signal?: AbortSignal;
  /** What containerd said when it prepared the snapshot. */
  readonly diffId?: Digest;
  /** How the content store gives the blob: from its file unless said otherwise. */
  readonly stream?: AsyncIterable<Uint8Array>;
};

/** A differ, a content store with one blob, and the folder of one extract snapshot. */
export interface ApplyWorld {
  readonly differ: LayerDiffer;
  /** Where the layer and everything temporary goes. */
  readonly folder: string;
  /** The published image. */
  readonly image: string;
  apply(blob: Uint8Array | string, request: ApplyRequest): Promise<Descriptor>;
  /** Names of all that is in the folder. */
  leftovers(): Promise<string[]>;
  imageBytes(): Promise<Buffer>;
}

/** @param held layers that the daemon has already, by the digest of their blob or tar */
export async function applyWorld(
  options: Partial<LayerDifferOptions> = {},
  held: Readonly<Record<string, LayerTar>> = {},
): Promise<ApplyWorld> {
  const base = await temporaryFolder();
  const folder = join(base, 'snapshot');
  await mkdir(folder);
  const blobPath = join(base, 'blob');
  const image = join(folder, 'layer.erofs');
  const store: { content?: LayerContent } = {};
  const content = {
    info: () => Promise.resolve({ labels: {} }),
    ...loneLayers,
    open: (): Promise<LayerContent> =>
      store.content ? Promise.resolve(store.content) : Promise.reject(new Error('there is no content in this world')),
  };
  const log = silentLogger();
  const bounds = { slots: new Slots(2), conversionTimeoutMs: 60_000, maxLayerBytes: 2 ** 40, aheadAtOnce: 0 };
  const differ = new LayerDiffer({ content, ...bounds, log, ...options });
  onTestFinished(() => differ.close());
  let made = 0;
  const targetOf = (diffId: Digest | undefined): ExtractTarget => ({
    id: 7,
    diffId,
    temporary: (purpose) => join(folder, `.tmp-${++made}-${purpose}`),
    publishLayer: (path) => rename(path, image),
    adoptLayer: (digest) => Promise.resolve(held[digest]),
  });
  return {
    differ,
    folder,
    image,
    apply: async (blob, { mediaType, digest, diffId, stream, signal = new AbortController().signal }) => {
      const bytes = typeof blob === 'string' ? await readFile(blob) : blob;
      await writeFile(blobPath, bytes);
      const size = bytes.length;
      store.content = stream ? { kind: 'stream', stream, size } : { kind: 'file', path: blobPath, size };
      const descriptor = { mediaType, digest: digest ?? digestOf(bytes), size };
      return differ.apply({ descriptor, target: targetOf(diffId), namespace: 'default', signal });
    },
    leftovers: () => readdir(folder),
    imageBytes: () => readFile(image),
  };
}
