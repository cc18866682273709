import { closeSync } from 'node:fs';
import { growPipe, makePipeDescriptors } from './libc.js';

/** One end of a pipe, owned by its maker until it is closed or moved. */
export class PipeEnd {
  readonly fd: number;
  #owned = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Safe to call twice, and after `move`. */
  close(): void {
    if (this.#owned) closeSync(this.fd);
    this.#owned = false;
  }

  /** Hands the descriptor to a new owner that closes it, such as a stream. */
  move(): number {
    this.#owned = false;
    return this.fd;
  }
}

export interface Pipe {
  readonly reader: PipeEnd;
  readonly writer: PipeEnd;
}

/**
 * Bytes that a pipe holds: as many as an unprivileged process may ask for (`/proc/sys/fs/pipe-max-size`). Through the default of
 * 64 KiB a layer of 688 MB takes a fourth longer, since its processes wait for each other.
 */
const pipeBytes = 1024 * 1024;

/** A pipe between two processes, or a thread and a process; a child inherits an end only when it is given it. */
export function makePipe(): Pipe {
  const [reader, writer] = makePipeDescriptors();
  growPipe(writer, pipeBytes);
  return { reader: new PipeEnd(reader), writer: new PipeEnd(writer) };
}
