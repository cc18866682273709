import { CodedError } from '../../src/errors.js';
import { RigError } from './process.js';

/** Numbered steps on standard output, each with the time it took. */
export class Steps {
  readonly #total: number;
  readonly #signal: AbortSignal;
  #number = 0;
  #title = 'starting';

  constructor(total: number, signal: AbortSignal) {
    this.#total = total;
    this.#signal = signal;
  }

  /** Runs one step. @throws what it throws, or the signal's reason when it was aborted meanwhile. */
  async run<T>(title: string, work: () => Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    this.#number += 1;
    this.#title = title;
    console.log(`[${this.#number}/${this.#total}] ${title}`);
    const started = performance.now();
    const result = await work();
    this.#signal.throwIfAborted();
    console.log(`      done in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return result;
  }

  /** What went wrong in which step, and what to do. */
  explain(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    const known = error instanceof RigError || error instanceof CodedError;
    const next = known ? error.next : 'read the message above; scripts/setup installs what the demo needs';
    return `step ${this.#number} of ${this.#total} (${this.#title}) failed: ${message}\nwhat to do: ${next ?? 'see the message'}`;
  }
}

/** Prints a block of text below a step. */
export function show(text: string): void {
  for (const line of text.trimEnd().split('\n')) console.log(`      ${line}`);
}
