import { errnoOf, SnapshotterError } from '../../src/errors.js';

/** Writes to standard output, and waits until it was taken. */
async function print(text: string): Promise<void> {
  if (text === '') return;
  await new Promise<void>((resolve, reject) => {
    process.stdout.once('error', reject);
    process.stdout.write(text, (error) => {
      process.stdout.off('error', reject);
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Whether something failed since nobody reads this program's output any more. */
export function readerIsGone(error: unknown): boolean {
  if (errnoOf(error) === 'EPIPE') return true;
  // A tool that writes to this program's output is killed for that.
  return error instanceof SnapshotterError && error.facts['signal'] === 'SIGPIPE';
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
