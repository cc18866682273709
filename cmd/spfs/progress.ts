import type { Progress } from '../../src/spfs/index.js';

const mebibyte = 1024 * 1024;

/** Shows on standard error how far a long work is: a line that changes on a terminal, one line otherwise. */
export class ProgressLine {
  readonly #what: string;
  readonly #isTerminal = process.stderr.isTTY;
  #shown = '';

  constructor(what: string) {
    this.#what = what;
    if (!this.#isTerminal) process.stderr.write(`${what}\n`);
  }

  readonly update = ({ step, done, total }: Progress): void => {
    if (!this.#isTerminal) return;
    const shown =
      step === 'reading'
        ? `${this.#what}: ${(done / mebibyte).toFixed(0)} of ${(total / mebibyte).toFixed(0)} MiB`
        : `${this.#what}: ${done} of ${total} layers`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    process.stderr.write(`\r\x1b[K${shown}`);
  };

  /** Removes the line, for what comes next. */
  readonly end = (): void => {
    if (this.#shown !== '') process.stderr.write('\r\x1b[K');
    this.#shown = '';
  };
}
