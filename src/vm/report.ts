/** How the guest said that it ended. */
export type Report =
  | { readonly kind: 'exit'; readonly status: number; readonly bootSeconds: number }
  | { readonly kind: 'fail'; readonly reason: string };

/**
 * Parts a guest's port into the command's output and the report behind it: the token, a blank, and one line.
 *
 * Bytes that may be the start of the token are held back until it is clear that they are not.
 */
export class ReportReader {
  readonly #token: Buffer;
  #held = Buffer.alloc(0);
  #found = false;

  constructor(token: string) {
    this.#token = Buffer.from(`${token} `);
  }

  /** Takes the next bytes of the port; `output` is what the command wrote, `report` is there when the line is complete. */
  push(chunk: Buffer): { readonly output: Buffer; readonly report?: Report } {
    const bytes = Buffer.concat([this.#held, chunk]);
    const at = this.#found ? 0 : bytes.indexOf(this.#token);
    if (at === -1) {
      const keep = this.#startsAtEnd(bytes);
      this.#held = bytes.subarray(bytes.length - keep);
      return { output: bytes.subarray(0, bytes.length - keep) };
    }
    const output = bytes.subarray(0, at);
    this.#held = bytes.subarray(at);
    this.#found = true;
    const end = this.#held.indexOf('\n');
    if (end === -1) return { output };
    return { output, report: parseReport(this.#held.subarray(this.#token.length, end).toString('utf8')) };
  }

  /** How many of the last bytes may be the start of the token. */
  #startsAtEnd(bytes: Buffer): number {
    let length = Math.min(bytes.length, this.#token.length - 1);
    while (!bytes.subarray(bytes.length - length).equals(this.#token.subarray(0, length))) length -= 1;
    return length;
  }

  /** What was held back of a guest that ended without a report. */
  rest(): Buffer {
    return this.#found ? Buffer.alloc(0) : this.#held;
  }
}

function parseReport(line: string): Report {
  const exit = /^exit (\d{1,3}) ([\d.]+)$/.exec(line);
  if (exit) return { kind: 'exit', status: Number(exit[1]), bootSeconds: Number(exit[2]) };
  return { kind: 'fail', reason: line.replace(/^fail /, '') };
}
