import type { ExpectedLayer } from '../../layers/index.js';
import type { Digest } from '../../vocabulary.js';
import type { PreparedLayer } from '../convert.js';

/**
 * Converts layers that containerd has not asked for yet: while they are fetched, and the next ones of an image while containerd is
 * still busy with one. containerd 2.1 asks for one layer after the other; 2.2 and later can unpack several at once by themselves
 * (`max_concurrent_unpacks`), and then there is nothing to do ahead.
 */
export interface LayersAhead {
  /** A snapshot was prepared for a layer. Returns at once: a pull must not wait for what may not be needed. */
  expect(layer: ExpectedLayer): void;
  /**
   * containerd asks for this layer, for that snapshot: those that follow it in its image are next.
   *
   * @returns the layer when it is under way or done, which waits for it, and makes it the caller's; undefined when it is neither, or failed
   */
  take(digest: Digest, snapshot: number, signal: AbortSignal): Promise<PreparedLayer | undefined>;
  /**
   * Gives up every layer that was not asked for, since a requested conversion lacks room.
   *
   * @returns whether there was any
   */
  yieldRoom(): Promise<boolean>;
  /** Stops and erases everything. */
  close(): Promise<void>;
}

/** Where nothing is converted ahead. */
export const nothingAhead: LayersAhead = {
  expect: () => undefined,
  take: () => Promise.resolve(undefined),
  yieldRoom: () => Promise.resolve(false),
  close: () => Promise.resolve(),
};
