import { Writable } from 'node:stream';

import { CodedError } from '../../src/errors.js';
import { silentLogger } from '../../src/log.js';
import type { Mount } from '../../src/vocabulary.js';
import { startGuest, type GuestRunOptions } from '../../src/vm/index.js';
import type { GuestResult } from '../../src/vm/options.js';

export interface GuestOptions extends Pick<
  GuestRunOptions,
  'argv' | 'env' | 'cwd' | 'kernel' | 'busybox' | 'memoryMiB' | 'accelerator' | 'signal' | 'log'
> {
  /** A Mounts answer. */
  readonly disks: { readonly mounts: readonly Mount[] };
  /** Default two minutes, from the start of QEMU to its end. */
  readonly timeoutMs?: number;
  readonly onOutput?: (chunk: Buffer) => void;
}

export interface CollectedResult extends GuestResult {
  /** What the command wrote to standard output and standard error. */
  readonly output: Buffer;
}

const defaultTimeoutMs = 120_000;
const mostOutputBytes = 64 * 1024 * 1024;

/**
 * Boots a guest from a snapshot's disks, runs one command in its root, and powers off after the writable layer is unmounted.
 * QEMU is gone and the temporary folder removed when this returns.
 *
 * @throws CodedError what `startGuest` throws and what `ended` rejects with; `resource-exhausted` for more than 64 MiB
 *   of output.
 */
export async function runInGuest(options: GuestOptions): Promise<CollectedResult> {
  const { disks, timeoutMs = defaultTimeoutMs, onOutput, signal, log = silentLogger(), ...common } = options;
  const tooMuch = new AbortController();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > mostOutputBytes) tooMuch.abort(tooMuchOutput());
      else {
        chunks.push(chunk);
        onOutput?.(chunk);
      }
      done();
    },
  });
  const guest = await startGuest({
    ...common,
    log,
    root: { ...disks, readOnly: true },
    streams: { stdin: undefined, stdout: output, stderr: 'stdout' },
    bootTimeoutMs: timeoutMs,
    timeoutMs,
    signal: signal ? AbortSignal.any([signal, tooMuch.signal]) : tooMuch.signal,
  });
  const result = await guest.ended;
  const { accelerator, seconds, bootSeconds, exitCode } = result;
  log.debug({ accelerator, seconds, bootSeconds, exitCode }, 'the guest ran its command');
  return { ...result, output: Buffer.concat(chunks) };
}

function tooMuchOutput(): CodedError {
  return new CodedError('resource-exhausted', `the command wrote more than ${mostOutputBytes} bytes`, {
    next: 'let it write into a file, which stays in the writable layer',
  });
}
