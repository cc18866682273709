import type { Digest } from '../vocabulary.js';
import type { Superblock } from '../erofs/index.js';

/**
 * Where Apply puts the layer of an extract snapshot. Paths stay the snapshots room's business: the differ is handed names to
 * write to and a way to make its result visible.
 */
export interface ExtractTarget {
  /** The snapshot's id, for logs. */
  readonly id: number;
  /** An unused path on the layer's own filesystem; what a crash leaves there is swept at the next start. */
  temporary(purpose: string): string;
  /**
   * Makes a verified image the layer of this snapshot: fsync, rename to the name its digest gives, fsync of the folder.
   * A layer that an earlier Apply left in the same snapshot is replaced.
   */
  publishLayer(temporaryPath: string, digest: Digest, superblock: Superblock): Promise<void>;
}
