import type { Readable } from 'node:stream';

const usualLimit = 64 * 1024;

/** The last bytes of a stream of unknown length, 64 KiB unless told: memory stays flat however much a tool prints. */
export class Tail {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(limit = usualLimit) {
    this.#limit = limit;
  }

  static of(stream: Readable | null | undefined): Tail {
    const tail = new Tail();
    stream?.on('data', (chunk: Buffer) => tail.push(chunk));
    return tail;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes > 2 * this.#limit) this.#trim();
  }

  text(): string {
    return Buffer.concat(this.#chunks).subarray(-this.#limit).toString('utf8');
  }

  #trim(): void {
    const tail = Buffer.from(Buffer.concat(this.#chunks).subarray(-this.#limit));
    this.#chunks = [tail];
    this.#bytes = tail.length;
  }
}
