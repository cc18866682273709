import type { Digest } from '../../vocabulary.js';

/** How long a fetch is watched before it is judged, and how long it must still take to be a slow one, in milliseconds. */
export const watchMs = 1_000;

/**
 * Tells slow fetches from fast ones, by how much has arrived since they were first looked at.
 *
 * Following a fetch takes processors from it. Measured on two cores with a registry on the same machine, where a fetch is faster than
 * converting, it made a pull slower; over a network it hides the whole of converting.
 */
export class Fetches {
  readonly #seen = new Map<Digest, { readonly at: number; readonly bytes: number }>();

  /** @param bytes what has arrived of `size` */
  isSlow(digest: Digest, size: number, bytes: number): boolean {
    const at = performance.now();
    const before = this.#seen.get(digest);
    const watched = at - (before?.at ?? at);
    if (before && watched < watchMs) return false;
    this.#seen.set(digest, { at, bytes });
    // An old observation is of another fetch.
    if (!before || watched > 10 * watchMs) return false;
    return (size - bytes) * watched > (bytes - before.bytes) * watchMs;
  }

  forget(digest: Digest): void {
    this.#seen.delete(digest);
  }
}
