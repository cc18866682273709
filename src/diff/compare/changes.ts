import type { ComparedNode, Path } from './node.js';

/** One thing that a layer says about its tree, in the order in which its tar says it. */
export type Change =
  /** The node as it is now; the empty path is the root. An opaque folder hides all that lower layers have in it. */
  | { readonly kind: 'present'; readonly path: Path; readonly node: ComparedNode; readonly opaque: boolean }
  /** Nothing is there any more. */
  | { readonly kind: 'gone'; readonly path: Path };

export type Changes = AsyncGenerator<Change, void, undefined>;
