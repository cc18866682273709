import { setTimeout as pause } from 'node:timers/promises';
import { isCode, CodedError } from '../../errors.js';
import { lockExclusively, type Lock } from '../../host/index.js';

const shortestPauseMs = 2;
const longestPauseMs = 50;

/**
 * Takes the lock file at `path`, and waits for the process that holds it.
 *
 * It asks again and again, with pauses: a flock that waits would occupy a thread that nothing can call back.
 *
 * @throws CodedError `unavailable` after `waitMs`, naming the holder; the signal's reason when it aborts
 */
export async function takeTurn(path: string, o: { waitMs: number; signal?: AbortSignal }): Promise<Lock> {
  const deadline = performance.now() + o.waitMs;
  for (let pauseMs = shortestPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
    o.signal?.throwIfAborted();
    try {
      return await lockExclusively(path);
    } catch (error) {
      if (!isCode(error, 'failed-precondition')) throw error;
      if (performance.now() >= deadline) throw busy(error, o.waitMs);
    }
    // Unequal pauses, so that those who wait do not meet again at every attempt.
    await pause(pauseMs * (0.5 + Math.random()), undefined, { signal: o.signal }).catch(() => undefined);
  }
}

function busy(held: CodedError, waitMs: number): CodedError {
  const waited = `${held.message}, for longer than ${waitMs / 1000} s`;
  return new CodedError('unavailable', waited, {
    facts: held.facts,
    next: 'wait until that command has ended, or end it, and try again',
    cause: held,
  });
}
