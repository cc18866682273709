import type { Digest } from '../vocabulary.js';

/** An extract snapshot that was prepared for a layer: containerd fetches that layer next, or has it, and applies it then. */
export interface ExpectedLayer {
  /** The snapshot's id. */
  readonly snapshot: number;
  /** The containerd namespace that asks. */
  readonly namespace: string | undefined;
  /** The layer's place in its image, counted from 0. */
  position(): Promise<number>;
  /** An unused path for a layer that has no snapshot yet; what a crash leaves there is swept at the next start. */
  temporary(purpose: string): string;
  /** Whether some snapshot has the layer with this digest of its blob or tar, and may share it with this one. */
  holds(digest: Digest): boolean;
}

/** Takes note of it, and returns at once. */
export type ExpectLayer = (layer: ExpectedLayer) => void;
