import { status, type ServiceError } from '@grpc/grpc-js';
import { CodedError, type ErrorCode } from '../errors.js';

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

/** How containerd, a Go program, begins when it cannot reach a plugin of another process. */
const pluginIsDown = /transport: (Error )?while dialing/i;
const pluginIsUnknown = /snapshotter not loaded/;

/** As `asContainerdError`, for a call that containerd hands on to the plugin `snapshotter`, if that is known. */
export function asSnapshotError(
  error: unknown,
  what: string,
  socketPath: string,
  snapshotter: string | undefined,
): unknown {
  if (!isServiceError(error)) return error;
  const facts = { containerd: socketPath, status: status[error.code], ...(snapshotter && { snapshotter }) };
  if (error.code === status.UNAVAILABLE && pluginIsDown.test(error.details)) {
    return new CodedError(
      'unavailable',
      `erofs-snapshotter does not answer: containerd could not ${what}: ${error.details}`,
      { facts, next: 'start erofs-snapshotter', cause: error },
    );
  }
  if (snapshotter !== undefined && pluginIsUnknown.test(error.details)) {
    return new CodedError(
      'failed-precondition',
      `containerd at ${socketPath} has no snapshotter named ${JSON.stringify(snapshotter)}: ${error.details}`,
      {
        facts,
        next: `add [proxy_plugins.${snapshotter}] to containerd's configuration and restart it, or name the right snapshotter`,
        cause: error,
      },
    );
  }
  return asContainerdError(error, what, socketPath);
}

/** gRPC writes this heading even when there is nothing below it. */
function connectionDetails({ details }: ServiceError): string {
  return details.replace(/\.? *Resolution note: *$/, '');
}

/** The error to throw for a failed call; `what` completes "containerd could not …". */
export function asContainerdError(error: unknown, what: string, socketPath: string): unknown {
  if (!isServiceError(error)) return error;
  const facts = { containerd: socketPath, status: status[error.code] };
  if (error.code === status.UNAVAILABLE) {
    return new CodedError('unavailable', `containerd does not answer at ${socketPath}: ${connectionDetails(error)}`, {
      facts,
      next: /\bE(ACCES|PERM)\b/.test(error.details)
        ? 'run this as root'
        : 'start containerd, or name its socket with --containerd-address or CONTAINERD_ADDRESS',
      cause: error,
    });
  }
  const code = codes[error.code] ?? 'internal';
  return new CodedError(code, `containerd could not ${what}: ${error.details}`, { facts, cause: error });
}
