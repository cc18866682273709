import { statfsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, CodedError } from '../errors.js';

export function isOutOfSpace(errno: string | undefined): boolean {
  return errno === 'ENOSPC' || errno === 'EDQUOT';
}

/** Bytes that an unprivileged writer could still write where `path` lies; `path` must exist. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** @throws CodedError `resource-exhausted` when fewer than `bytes` are free where `path` lies. */
export async function requireFreeBytes(path: string, bytes: number, what: string): Promise<void> {
  const free = await freeBytes(path);
  if (free >= bytes) return;
  throw new CodedError('resource-exhausted', `${what} needs ${bytes} bytes at ${path}, where ${free} are free`, {
    facts: { path, neededBytes: bytes, freeBytes: free },
    next: 'free disk space and try again',
  });
}

/**
 * What a caller may throw on: a full disk or quota becomes `resource-exhausted` with path and free bytes, a CodedError
 * stays what it is, anything else becomes `internal` with the error as its cause.
 *
 * @param what the work that failed, as `writing snapshot.json`.
 * @param path where it wrote, for errors that do not carry their path (those of an open file).
 */
export function asCodedError(error: unknown, what: string, path = pathOf(error)): CodedError {
  if (error instanceof CodedError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (!isOutOfSpace(errnoOf(error))) {
    return new CodedError('internal', `${what} failed: ${message}`, {
      facts: { path },
      cause: error,
    });
  }
  return outOfSpace(what, path, error);
}

/** `resource-exhausted` with path and free bytes: those that are free now, so that what failed should be removed before. */
export function outOfSpace(what: string, path: string | undefined, cause: unknown): CodedError {
  const free = path === undefined ? undefined : freeNear(path);
  const where = path === undefined ? '' : ` at ${path}`;
  const left = free === undefined ? '' : `, where ${free} bytes are free`;
  return new CodedError('resource-exhausted', `${what} failed: no disk space is left${where}${left}`, {
    facts: { path, freeBytes: free },
    next: 'free disk space and try again',
    cause,
  });
}

function pathOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).path : undefined;
}

/** Free bytes at the nearest folder above `path` that still exists. */
function freeNear(path: string): number | undefined {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at);
      return bavail * bsize;
    } catch {
      if (at === dirname(at)) return undefined;
    }
  }
}

/** Bytes that work which may write much leaves free, for the records of everything else there; small work leaves as much as it writes. */
const reserveBytes = 64 * 1024 * 1024;

/** Keeps work that may write much from filling the disk for all others, and what each may write from being promised twice. */
export class SpaceReserve {
  #held = 0;

  /**
   * @param bytes what the work may write at `path`, at most
   * @throws CodedError `resource-exhausted` when that would leave too little to all others
   */
  async holding<T>(path: string, bytes: number, what: string, work: () => Promise<T>): Promise<T> {
    const held = this.#held;
    this.#held += bytes;
    try {
      await requireFreeBytes(path, held + bytes + Math.min(bytes, reserveBytes), what);
      return await work();
    } finally {
      this.#held -= bytes;
    }
  }
}
