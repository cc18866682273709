import type { Superblock } from '../erofs/index.js';
import type { Digest } from '../vocabulary.js';

/** The uncompressed tar of a layer. */
export interface LayerTar {
  readonly diffId: Digest;
  /** Bytes. */
  readonly tarBytes: number;
}

/** A layer that Apply converted, before it has its place. */
export interface ConvertedLayer extends LayerTar {
  /** The digest of the layer's descriptor. */
  readonly digest: Digest;
  readonly superblock: Superblock;
}

/**
 * Where Apply puts the layer of an extract snapshot. Paths stay the snapshots room's business: the differ is handed names to
 * write to and ways to make a result visible.
 */
export interface ExtractTarget {
  /** The snapshot's id, for logs. */
  readonly id: number;
  /** The diff ID that containerd (2.3 and later) named when it prepared the snapshot. */
  readonly diffId: Digest | undefined;
  /** An unused path on the layer's own filesystem; what a crash leaves there is swept at the next start. */
  temporary(purpose: string): string;
  /**
   * Makes a verified image the layer of this snapshot and records it. A layer that an earlier Apply left in the same snapshot
   * is replaced.
   */
  publishLayer(temporaryPath: string, layer: ConvertedLayer): Promise<void>;
  /**
   * Takes over a layer that this daemon holds already, by the digest of its blob or of its tar: both snapshots then share one
   * file. A layer that was damaged or changed since is not taken.
   *
   * @returns undefined when there is none
   */
  adoptLayer(digest: Digest): Promise<LayerTar | undefined>;
}
