import { errnoOf, CodedError } from '../../src/errors.js';

/** Writes to standard output, and waits until it was taken. */
async function print(text: string): Promise<void> {
  if (text === '') return;
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/**
 * A write that fails tells its caller. The stream says it once more as an event, also for writes that are not awaited, such as
 * those of a help text: without a listener the event would end the process with a stack trace.
 */
export function leaveFailuresToWriters(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}

/** Whether something failed since the reader of this program's output, or of a program it runs, is gone. */
export function readerIsGone(error: unknown): boolean {
  if (error instanceof CodedError) return error.facts['signal'] === 'SIGPIPE';
  return errnoOf(error) === 'EPIPE';
}

export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value, null, 2)}\n`);
}

export function printLines(lines: readonly string[]): Promise<void> {
  return print(lines.map((line) => `${line}\n`).join(''));
}

/** Rows in columns; the last column is as wide as it is. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.slice(0, -1).entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
