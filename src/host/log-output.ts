import { writeSync } from 'node:fs';
import { errnoOf } from '../errors.js';
import { isWritable } from './libc.js';

/** Bytes of lines that wait for a reader; what comes when they are full is dropped. */
const mostWaitingBytes = 256 * 1024;
/** Milliseconds until lines that wait are tried again, when no other line comes before. */
const againMs = 500;
/** A pipe that takes anything takes as many bytes as this without blocking (PIPE_BUF, pipe(7)). */
const pieceBytes = 4096;

interface Writing {
  readonly rest: Buffer;
  readonly begun: boolean;
  /** How many lines are lost when this one is. */
  readonly lines: number;
}

/**
 * Writes whole lines to a descriptor, and neither blocks nor fails: a reader that has stopped, a closed pipe or a full disk must
 * not end or hold up a daemon. What cannot be written for a while waits, in bounded memory; what is lost is counted, and told
 * in its place once something can be written again.
 */
export class LogOutput {
  readonly #fd: number;
  readonly #lost: (lines: number) => string;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #writing: Writing | undefined;
  #dropped = 0;
  /** A line was begun, and its rest never will be written. */
  #torn = false;
  #again: NodeJS.Timeout | undefined;

  /** @param lost the line, with its end, that tells how many lines are missing */
  constructor(fd: number, lost: (lines: number) => string) {
    this.#fd = fd;
    this.#lost = lost;
  }

  /** @param line with its end */
  write(line: string): void {
    this.#flush();
    const bytes = Buffer.from(line);
    // Once one is missing so are those that follow, until what waits is written: else they would stand before the gap.
    const full = this.#dropped > 0 || this.#waitingBytes + bytes.length > mostWaitingBytes;
    if (this.#writing !== undefined && full) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#flush();
  }

  /** Writes what the descriptor takes now. */
  #flush(): void {
    clearTimeout(this.#again);
    for (;;) {
      this.#writing ??= this.#next();
      if (this.#writing === undefined) return;
      const { rest, begun, lines } = this.#writing;
      const written = this.#put(rest.subarray(0, pieceBytes));
      if (written === 'blocked') {
        this.#again = setTimeout(() => this.#flush(), againMs).unref();
        return;
      }
      if (written === 'failed') {
        this.#dropped += lines;
        this.#torn ||= begun;
        this.#writing = undefined;
        if (this.#waiting.length === 0) return;
      } else {
        this.#writing = written === rest.length ? undefined : { rest: rest.subarray(written), begun: true, lines };
      }
    }
  }

  #next(): Writing | undefined {
    const line = this.#waiting.shift();
    if (line !== undefined) {
      this.#waitingBytes -= line.length;
      return { rest: line, begun: false, lines: 1 };
    }
    const lines = this.#dropped;
    if (lines === 0) return undefined;
    this.#dropped = 0;
    return { rest: Buffer.from(this.#lost(lines)), begun: false, lines };
  }

  #put(bytes: Buffer): number | 'blocked' | 'failed' {
    try {
      if (!isWritable(this.#fd)) return 'blocked';
      if (this.#torn) writeSync(this.#fd, '\n');
      this.#torn = false;
      return writeSync(this.#fd, bytes);
    } catch (error) {
      return errnoOf(error) === 'EAGAIN' ? 'blocked' : 'failed';
    }
  }
}
