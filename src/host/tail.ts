import type { Readable } from 'node:stream';

/** Bytes of a tool's output that are kept. */
const kept = 64 * 1024;

/** The last 64 KiB of a stream: memory stays flat however much a tool prints. */
export class Tail {
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(stream: Readable | null | undefined) {
    stream?.on('data', (chunk: Buffer) => this.#add(chunk));
  }

  #add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes > 2 * kept) this.#trim();
  }

  #trim(): void {
    const tail = Buffer.from(Buffer.concat(this.#chunks).subarray(-kept));
    this.#chunks = [tail];
    this.#bytes = tail.length;
  }

  text(): string {
    return Buffer.concat(this.#chunks).subarray(-kept).toString('utf8');
  }
}
