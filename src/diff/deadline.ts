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
