import { writeSync } from 'node:fs';
import { errnoOf } from '../../errors.js';

const bufferBytes = 512 * 1024;
/** Larger pieces are written as they are, since copying them costs more than a write. */
const pieceBytes = 64 * 1024;

/** Writes into a pipe, many small pieces at once. Blocks its thread until they are read. */
export class Output {
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(bufferBytes);
  #filled = 0;
  #written = 0;
  #isRead = true;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Whether the pipe still has a reader. */
  get isRead(): boolean {
    return this.#isRead;
  }

  /** Bytes that were given. */
  get written(): number {
    return this.#written;
  }

  write(bytes: Buffer): void {
    this.#written += bytes.length;
    if (bytes.length > bufferBytes - this.#filled) this.flush();
    if (bytes.length >= pieceBytes) {
      this.flush();
      this.#send(bytes);
      return;
    }
    this.#filled += bytes.copy(this.#buffer, this.#filled);
  }

  flush(): void {
    this.#send(this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
  }

  #send(bytes: Buffer): void {
    try {
      for (let at = 0; this.#isRead && at < bytes.length;) at += writeSync(this.#fd, bytes, at, bytes.length - at);
    } catch (error) {
      // Why it is not read any more is for mkfs.erofs to say.
      if (errnoOf(error) !== 'EPIPE') throw error;
      this.#isRead = false;
    }
  }
}
