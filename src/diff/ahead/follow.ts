import { watch } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { CodedError } from '../../errors.js';

/** A file that another process still writes, from its beginning to its end. */
export interface ArrivingFile {
  /** Open for reading, and closed by its owner: the name may change when the file is complete. */
  readonly file: FileHandle;
  /** Bytes that it will have. */
  readonly size: number;
}

const partBytes = 256 * 1024;
/** What arrives within this many milliseconds is taken together: a writer may write in pieces of 32 KiB. */
const gatherMs = 5;
/** Milliseconds without a further byte after which the fetch counts as stalled. */
const stallMs = 60_000;

/**
 * Hands on the bytes of a file as they arrive, until all are there. `write` has the part until it resolves.
 *
 * @throws CodedError `unavailable` when the file stops growing, or is given up by its writer; the signal's reason; what `write` throws
 */
export async function follow(
  { file, size }: ArrivingFile,
  write: (part: Uint8Array) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(partBytes);
  let position = 0;
  while (position < size) {
    signal.throwIfAborted();
    const wanted = Math.min(buffer.length, size - position);
    const { bytesRead } = await file.read(buffer, 0, wanted, position);
    if (bytesRead === 0) {
      await growth(file, position, signal);
      continue;
    }
    await write(buffer.subarray(0, bytesRead));
    position += bytesRead;
    if (bytesRead < wanted) await delay(gatherMs, undefined, { signal });
  }
}

/** Resolves when the file may be longer than `position`. */
async function growth(file: FileHandle, position: number, signal: AbortSignal): Promise<void> {
  await delay(gatherMs, undefined, { signal });
  const waiting = new Promise<void>((resolve, reject) => {
    // By its descriptor: the kernel watches the file itself, whatever its name is by now.
    const watcher = watch(`/proc/self/fd/${file.fd}`, { persistent: false });
    const stop = (end: () => void) => {
      watcher.close();
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      end();
    };
    const fail = (error: Error) => stop(() => reject(error));
    const aborted = () => fail(signal.reason as Error);
    const timer = setTimeout(() => fail(stalled(position)), stallMs);
    watcher.on('error', fail);
    watcher.on('change', () => stop(resolve));
    signal.addEventListener('abort', aborted, { once: true });
    // It may have grown, or been given up, before it was watched.
    file.stat().then(({ size, nlink }) => {
      if (size > position) stop(resolve);
      else if (nlink === 0) fail(givenUp(position));
    }, fail);
  });
  await waiting;
}

function stalled(position: number): CodedError {
  return new CodedError('unavailable', `nothing arrived for ${stallMs / 1000} s after ${position} bytes`);
}

function givenUp(position: number): CodedError {
  return new CodedError('unavailable', `the fetch was given up after ${position} bytes`);
}
