/**
 * Work that several callers may ask for at once: the same key gives the same promise. Jobs can be listed, and drained at
 * shutdown; a job is forgotten when it ends, so the next caller after a failure tries again.
 */
export class Jobs<T> {
  readonly #running = new Map<string, Promise<T>>();

  /** Starts `work` under `key`, or joins the one already running. */
  run(key: string, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key);
    if (running) return running;
    const job = work().finally(() => this.#running.delete(key));
    this.#running.set(key, job);
    return job;
  }

  list(): readonly string[] {
    return [...this.#running.keys()];
  }

  /** Resolves when no job runs; how each ended is its caller's concern. */
  async drain(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values());
  }
}

/** When work that takes long leaves its turn to others, and goes on beside them. */
export interface Overtime {
  /** Milliseconds. */
  readonly afterMs: number;
  /** Pieces of work beyond their turn at once. Further ones keep their turns until one of these ends. */
  readonly atMost: number;
}

/** At most `limit` pieces of work at once, and those in overtime; the others wait in the order they came. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];
  readonly #overtime: Overtime | undefined;
  #late = 0;
  /** What has taken long, and would leave its turn to others if fewer had. */
  readonly #slow: (() => void)[] = [];

  constructor(limit: number, overtime?: Overtime) {
    this.#free = limit;
    this.#overtime = overtime;
  }

  /** Whether a further piece of work would start at once. */
  get hasRoom(): boolean {
    return this.#free > 0;
  }

  /** @throws the signal's reason when it aborts while waiting; what `work` throws otherwise. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#acquire(signal);
    const end = this.#begin();
    try {
      return await work();
    } finally {
      end();
    }
  }

  /** @returns what is to be called at the work's end */
  #begin(): () => void {
    const overtime = this.#overtime;
    if (!overtime) return () => this.#release();
    let isLate = false;
    const becomeLate = () => {
      isLate = true;
      this.#late += 1;
      this.#release();
    };
    const timer = setTimeout(() => {
      if (this.#late < overtime.atMost) becomeLate();
      else this.#slow.push(becomeLate);
    }, overtime.afterMs);
    timer.unref();
    return () => {
      clearTimeout(timer);
      if (isLate) {
        this.#late -= 1;
        this.#slow.shift()?.();
        return;
      }
      const place = this.#slow.indexOf(becomeLate);
      if (place !== -1) this.#slow.splice(place, 1);
      this.#release();
    };
  }

  async #acquire(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const granted = () => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      };
      const aborted = () => {
        this.#waiting.splice(this.#waiting.indexOf(granted), 1);
        reject(signal?.reason as Error);
      };
      this.#waiting.push(granted);
      signal?.addEventListener('abort', aborted, { once: true });
    });
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}
