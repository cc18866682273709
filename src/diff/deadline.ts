import { SnapshotterError } from '../errors.js';
import type { Scope } from '../scope.js';

/** Aborts when `signal` does, or with `deadline-exceeded` as its reason when the time is over. */
export function withDeadline(signal: AbortSignal, deadlineMs: number, what: string, scope: Scope): AbortSignal {
  const deadline = new AbortController();
  const timer = setTimeout(() => {
    const message = `${what} did not end within ${deadlineMs / 1000} s`;
    deadline.abort(new SnapshotterError('deadline-exceeded', message, { facts: { deadlineMs } }));
  }, deadlineMs);
  scope.defer('the deadline', () => clearTimeout(timer));
  return AbortSignal.any([signal, deadline.signal]);
}

/** Waits no longer than the signal allows, for work that learns of the end in another way. @throws the signal's reason */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
  return Promise.race([work, aborted]).finally(() => signal.removeEventListener('abort', abort));
}

/** Waits no longer than so many milliseconds. */
export async function within(milliseconds: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds).unref()));
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
