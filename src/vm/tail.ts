// eslint-disable-next-line no-control-regex -- these control characters are what is removed
const terminalControl = /\x1b(\[[0-9;?=]*[A-Za-z]|c)|\r/g;

/** The last bytes of a stream of unknown length. */
export class Tail {
  readonly #limit: number;
  #bytes = Buffer.alloc(0);

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(chunk: Buffer): void {
    const bytes = Buffer.concat([this.#bytes, chunk]);
    this.#bytes = bytes.length > this.#limit ? bytes.subarray(bytes.length - this.#limit) : bytes;
  }

  /** As text, without the carriage returns and the colour and cursor commands that firmware and kernels print. */
  text(): string {
    return this.#bytes.toString('utf8').replace(terminalControl, '').trim();
  }
}
