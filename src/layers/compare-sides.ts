import type { Upper } from './upper.js';

/** A tree that is mounted for as long as it is compared. */
export interface ComparedTree {
  readonly path: string;
  /**
   * The kernel's overlay shows it, which takes one level of escaping from attributes of nested overlays: what a layer keeps as
   * `trusted.overlay.overlay.opaque` appears as `trusted.overlay.opaque`.
   */
  readonly throughOverlay: boolean;
  /** As those of an upper. */
  readonly mostHoleBytes?: number;
}

/**
 * The two sides of a Diff. Paths and mounts stay the snapshots room's business: the differ is lent folders to read, which are
 * there, and do not change, until its work has ended.
 */
export interface CompareSides {
  /**
   * When right is left and one overlay upper on top: lends that upper, so that nothing else need be read. It is undefined for
   * any other pair.
   */
  readonly withUpper: (<T>(work: (upper: Upper) => Promise<T>) => Promise<T>) | undefined;
  /** Lends both sides as whole trees. */
  withTrees<T>(work: (left: ComparedTree, right: ComparedTree) => Promise<T>): Promise<T>;
  /** An unused path below the root for temporary data; what a crash leaves there is swept at the next start. */
  temporary(purpose: string): string;
}
