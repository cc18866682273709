import type { FileHandle } from 'node:fs/promises';
import type { Descriptor, Digest } from '../vocabulary.js';

/** A layer as its image names it; `diffId` when the image's configuration is here. */
export interface NamedLayer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest | undefined;
}

/** What looking ahead needs of a content store. */
export interface ManifestSource {
  /** The layers that follow the one at `position` (from 0) in every image whose layer there is `digest`. */
  layersAfter(digest: Digest, position: number, namespace: string | undefined): Promise<readonly NamedLayer[]>;
  /** All layers of the images that have `digest` among theirs. */
  layersWith(digest: Digest, namespace: string | undefined): Promise<readonly NamedLayer[]>;
  /** Rejects with `not-found` while the blob is not complete. */
  info(digest: Digest, namespace: string | undefined, signal: AbortSignal): Promise<unknown>;
  /** Yields each time that a blob has become complete, until the signal aborts. */
  completed(namespace: string | undefined, signal: AbortSignal): AsyncIterable<void>;
  /** The layers that are being fetched, as far as that can be seen. */
  downloads(namespace: string | undefined): Promise<readonly Digest[]>;
  /** What has arrived so far of a layer that is being fetched; undefined when it is not. */
  openDownload(digest: Digest, namespace: string | undefined): Promise<FileHandle | undefined>;
  /** Yields each time that fetches may have begun, until the signal aborts. */
  begun(signal: AbortSignal): AsyncIterable<void>;
}
