import { randomBytes } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { CodedError, type ErrorCode } from '../errors.js';
import type { LogLevel } from '../log.js';

/** The one table from the project's errors to what goes over the wire, and how loudly each is logged. */
const wire = {
  'not-found': { status: status.NOT_FOUND, level: 'debug' },
  'already-exists': { status: status.ALREADY_EXISTS, level: 'debug' },
  'invalid-argument': { status: status.INVALID_ARGUMENT, level: 'info' },
  'failed-precondition': { status: status.FAILED_PRECONDITION, level: 'info' },
  'not-mine': { status: status.UNIMPLEMENTED, level: 'debug' },
  'resource-exhausted': { status: status.RESOURCE_EXHAUSTED, level: 'error' },
  unavailable: { status: status.UNAVAILABLE, level: 'warn' },
  'deadline-exceeded': { status: status.DEADLINE_EXCEEDED, level: 'warn' },
  cancelled: { status: status.CANCELLED, level: 'info' },
  'data-loss': { status: status.DATA_LOSS, level: 'error' },
  internal: { status: status.INTERNAL, level: 'error' },
} as const satisfies Record<ErrorCode, { status: status; level: LogLevel }>;

/** gRPC carries details in a header, and peers limit the size of those. */
const detailsLimit = 4000;
const headLength = 3000;

/** How a call failed: what its caller is told, and what the log is told. */
export interface FailedCall {
  readonly status: { readonly code: status; readonly details: string };
  readonly level: LogLevel;
  /** Names the log entry of an unforeseen error; the caller gets it in place of the error's words. */
  readonly id?: string;
}

export function failedCallOf(error: unknown): FailedCall {
  if (error instanceof CodedError) {
    const { status: code, level } = wire[error.code];
    return { status: { code, details: fitForHeader(error.advice) }, level };
  }
  const id = randomBytes(6).toString('hex');
  const details = `internal error ${id}; the daemon's log has the details under that id: please report it`;
  return { status: { code: status.INTERNAL, details }, level: 'error', id };
}

/**
 * Shortened in the middle, so that what happened and what to do next both stay. Halves of surrogate pairs, which cannot
 * be percent-encoded, become U+FFFD.
 */
function fitForHeader(text: string): string {
  const short =
    text.length <= detailsLimit
      ? text
      : `${text.slice(0, headLength)} […] ${text.slice(text.length - (detailsLimit - headLength))}`;
  return Buffer.from(short, 'utf8').toString('utf8');
}
