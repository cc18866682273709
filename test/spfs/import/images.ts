import { createHash } from 'node:crypto';
import type { ContainerdClient } from '../../../src/containerd/index.js';
import { CodedError } from '../../../src/errors.js';
import type { Descriptor, Digest } from '../../../src/vocabulary.js';

export interface ImageLayer {
  readonly diffId: Digest;
  readonly mediaType: string;
}

export function sha256(text: string): Digest {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}

export const layerA: ImageLayer = { diffId: sha256('a'), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' };

/** A content store in memory, and one image, called `image`. */
export class FakeImages {
  readonly #blobs = new Map<string, Buffer>();
  target: Descriptor = { mediaType: '', digest: '', size: 0 };

  put(mediaType: string, document: unknown): Descriptor {
    const text = typeof document === 'string' ? document : JSON.stringify(document);
    const digest = sha256(text);
    this.#blobs.set(digest, Buffer.from(text));
    return { mediaType, digest, size: Buffer.byteLength(text) };
  }

  damage(digest: string): void {
    this.#blobs.set(digest, Buffer.from('{}'));
  }

  remove(digest: string): void {
    this.#blobs.delete(digest);
  }

  get containerd(): ContainerdClient {
    return {
      images: {
        get: (name: string) =>
          name === 'image'
            ? Promise.resolve({ name, target: this.target })
            : Promise.reject(new CodedError('not-found', 'no such image')),
        names: () => Promise.resolve(['image']),
      },
      content: { open: ({ digest }: Descriptor) => this.#open(digest) },
    } as unknown as ContainerdClient;
  }

  async #open(digest: string) {
    const bytes = this.#blobs.get(digest);
    if (!bytes) throw new CodedError('not-found', `no ${digest}`, { next: 'pull it' });
    const stream = (async function* () {
      yield await Promise.resolve(bytes.subarray(0, 5));
      yield bytes.subarray(5);
    })();
    return Promise.resolve({ kind: 'stream', stream, size: bytes.length });
  }
}

/** A containerd that has one image, called `image`, of these layers. */
export function imageOf(layers: readonly ImageLayer[]): ContainerdClient {
  const fake = new FakeImages();
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const config = fake.put('application/vnd.oci.image.config.v1+json', { rootfs });
  const blobs = layers.map(({ mediaType, diffId }) => ({ mediaType, digest: sha256(`blob of ${diffId}`), size: 1 }));
  fake.target = fake.put('application/vnd.oci.image.manifest.v1+json', { config, layers: blobs });
  return fake.containerd;
}
