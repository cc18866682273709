/** What the guest's init tells the host on the control port, one line each. */
export type Report =
  | { readonly kind: 'started'; readonly bootSeconds: number }
  | { readonly kind: 'exit'; readonly status: number }
  | { readonly kind: 'fail'; readonly reason: string };

/** A line of the control port; what it does not know is a failure that says so. */
export function parseReport(line: string): Report {
  const started = /^started ([\d.]+)$/.exec(line);
  if (started) return { kind: 'started', bootSeconds: Number(started[1]) };
  const exit = /^exit (\d{1,3})$/.exec(line);
  if (exit) return { kind: 'exit', status: Number(exit[1]) };
  return { kind: 'fail', reason: line.replace(/^fail /, '') };
}

/** Parts what comes in pieces into whole lines. */
export class LineReader {
  #held = '';

  push(chunk: Buffer): readonly string[] {
    const lines = (this.#held + chunk.toString('utf8')).split('\n');
    this.#held = lines.pop() ?? '';
    return lines;
  }
}

/**
 * Finds the end of an output: the token, a blank, and one line.
 *
 * Bytes that may be the start of the token are held back until it is clear that they are not.
 */
export class OutputReader {
  readonly #token: Buffer;
  #held = Buffer.alloc(0);

  constructor(token: string) {
    this.#token = Buffer.from(`${token} `);
  }

  /** Takes the next bytes of the port; `output` is what the command wrote, and `ended` says that it was the last. */
  push(chunk: Buffer): { readonly output: Buffer; readonly ended: boolean } {
    const bytes = Buffer.concat([this.#held, chunk]);
    const at = bytes.indexOf(this.#token);
    if (at !== -1) {
      this.#held = Buffer.alloc(0);
      return { output: bytes.subarray(0, at), ended: true };
    }
    const keep = this.#startsAtEnd(bytes);
    this.#held = bytes.subarray(bytes.length - keep);
    return { output: bytes.subarray(0, bytes.length - keep), ended: false };
  }

  /** How many of the last bytes may be the start of the token. */
  #startsAtEnd(bytes: Buffer): number {
    let length = Math.min(bytes.length, this.#token.length - 1);
    while (!bytes.subarray(bytes.length - length).equals(this.#token.subarray(0, length))) length -= 1;
    return length;
  }

  /** Text held back of an output that ended without its mark. */
  rest(): Buffer {
    return this.#held;
  }
}
