import { errnoOf, CodedError, type ErrorCode, type Facts } from './errors.js';

/** An error on its way between threads: classes do not survive it, their fields do. */
export interface ThreadError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly facts: Facts;
  readonly next: string | undefined;
}

/** @param what was read, for errors of the system */
export function threadErrorOf(error: unknown, what: string): ThreadError {
  if (error instanceof CodedError) {
    return { code: error.code, message: error.message, facts: error.facts, next: error.next };
  }
  const message = error instanceof Error ? error.message : String(error);
  const code = errnoOf(error) === 'ENOENT' ? 'not-found' : 'internal';
  return { code, message: `reading ${what} failed: ${message}`, facts: {}, next: undefined };
}

export function errorOf({ code, message, facts, next }: ThreadError): CodedError {
  return new CodedError(code, message, { facts, next });
}
