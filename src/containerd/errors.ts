import { status, type ServiceError } from '@grpc/grpc-js';
import { SnapshotterError, type ErrorCode } from '../errors.js';

/**
 * What containerd's answers mean here. UNIMPLEMENTED is missing on purpose: a method that containerd does not have is
 * not "ask the next differ", which is all that `not-mine` may say.
 */
const codes: Partial<Record<status, ErrorCode>> = {
  [status.CANCELLED]: 'cancelled',
  [status.INVALID_ARGUMENT]: 'invalid-argument',
  [status.DEADLINE_EXCEEDED]: 'deadline-exceeded',
  [status.NOT_FOUND]: 'not-found',
  [status.ALREADY_EXISTS]: 'already-exists',
  [status.FAILED_PRECONDITION]: 'failed-precondition',
  [status.RESOURCE_EXHAUSTED]: 'resource-exhausted',
  [status.UNAVAILABLE]: 'unavailable',
  [status.DATA_LOSS]: 'data-loss',
};

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'details' in error && 'code' in error && typeof error.code === 'number';
}

/** The error to throw for a failed call; `what` completes "containerd could not …". */
export function asContainerdError(error: unknown, what: string, socketPath: string): unknown {
  if (!isServiceError(error)) return error;
  const facts = { containerd: socketPath, status: status[error.code] };
  if (error.code === status.UNAVAILABLE) {
    return new SnapshotterError('unavailable', `containerd does not answer at ${socketPath}: ${error.details}`, {
      facts,
      next: 'start containerd, or name its socket with --containerd-address or CONTAINERD_ADDRESS',
      cause: error,
    });
  }
  const code = codes[error.code] ?? 'internal';
  return new SnapshotterError(code, `containerd could not ${what}: ${error.details}`, { facts, cause: error });
}
