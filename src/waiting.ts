import { CodedError } from './errors.js';
import type { Scope } from './scope.js';

/**
 * Waits for work until the signal aborts: that ends this wait alone, while the work goes on for others, or learns of the abort in
 * another way. A failure of the work that comes later is handled.
 *
 * @throws the signal's reason, also when it has aborted already
 */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
  return Promise.race([aborted, work]).finally(() => signal.removeEventListener('abort', abort));
}

/** Waits no longer than so many milliseconds. @returns whether the work has ended. @throws what the work throws until then */
export async function within(milliseconds: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  return Promise.race([work.then(() => true), late]).finally(() => clearTimeout(timer));
}

/** Aborts when `signal` does, or with `deadline-exceeded` as its reason when the time is over, until the scope ends. */
export function withDeadline(signal: AbortSignal, deadlineMs: number, what: string, scope: Scope): AbortSignal {
  const deadline = new AbortController();
  const timer = setTimeout(() => {
    const message = `${what} did not end within ${deadlineMs / 1000} s`;
    deadline.abort(new CodedError('deadline-exceeded', message, { facts: { deadlineMs } }));
  }, deadlineMs);
  scope.defer('the deadline', () => clearTimeout(timer));
  return AbortSignal.any([signal, deadline.signal]);
}
