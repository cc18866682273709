import type { Logger } from './log.js';

type Release = () => Promise<void> | void;

/**
 * Owns resources for the time of one piece of work and gives them back in reverse order, awaited.
 *
 * Node 20 has no AsyncDisposableStack. A release that throws is logged, never thrown: cleaning up must not hide the cause.
 */
export class Scope {
  readonly #log: Logger;
  #releases: { what: string; release: Release }[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Registers what gives `what` back. */
  defer(what: string, release: Release): void {
    this.#releases.push({ what, release });
  }

  /** Hands everything owned so far to the caller, who must call the function it gets; this scope then owns nothing. */
  move(): () => Promise<void> {
    const moved = new Scope(this.#log);
    moved.#releases = this.#releases;
    this.#releases = [];
    return () => moved.close();
  }

  async close(): Promise<void> {
    for (let entry = this.#releases.pop(); entry; entry = this.#releases.pop()) {
      try {
        await entry.release();
      } catch (error) {
        this.#log.error({ err: error, what: entry.what }, 'could not release what this work owned');
      }
    }
  }
}

/** Runs `work` with a scope that is closed however it ends. */
export async function withScope<T>(log: Logger, work: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = new Scope(log);
  try {
    return await work(scope);
  } finally {
    await scope.close();
  }
}
