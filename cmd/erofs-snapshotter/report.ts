import { describeError, isCode } from '../../src/errors.js';

/** Says on standard error, in one line, why the daemon ends; returns its exit code: 2 for flags and settings, 1 for the rest. */
export function report(error: unknown, output: { readonly write: (line: string) => void }): 1 | 2 {
  output.write(`erofs-snapshotter: ${describeError(error).replaceAll('\n', ' ')}\n`);
  return isCode(error, 'invalid-argument') ? 2 : 1;
}
