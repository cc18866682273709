import { chmod, chown, lstat, mkdtemp, rename, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { errnoOf, CodedError } from '../errors.js';
import { makeFolder } from '../host/index.js';
import { longestSocketPath } from '../limits.js';

export interface Socket {
  /** Removes the socket, unless another process has put its own in that place meanwhile. */
  remove(): Promise<void>;
}

export interface SocketOptions {
  readonly path: string;
  /** This group may connect too: mode 0660 in place of 0600. */
  readonly groupId?: number;
  /** Binds the path it is given. */
  readonly bind: (path: string) => Promise<void>;
}

/**
 * Binds in a folder that only root can enter, sets mode and group there, and only then moves the socket to its place: it
 * is never more open than asked, the process's umask is left alone, and a stale socket is replaced in one step.
 *
 * @throws CodedError `failed-precondition` when a process answers at `path`, the path is no socket or its folder cannot be
 * made, `invalid-argument` when the path, or that of its folder, is too long for a socket.
 */
export async function openSocket(options: SocketOptions): Promise<Socket> {
  const { path, groupId, bind } = options;
  const folder = dirname(path);
  // A group that may connect must be able to reach the socket.
  await makeFolder(folder, groupId === undefined ? 0o700 : 0o755);
  await refuseTaken(path);
  // In the folder itself, which may be a mount point: nothing moves from one filesystem to another.
  const workshop = await mkdtemp(`${folder}/.`);
  try {
    const temporary = join(workshop, 's');
    requireShort(path, path);
    requireShort(temporary, path);
    await bind(temporary);
    await chmod(temporary, groupId === undefined ? 0o600 : 0o660);
    if (groupId !== undefined) await chown(temporary, 0, groupId);
    const { ino, dev } = await lstat(temporary);
    await rename(temporary, path);
    return { remove: () => removeOwn(path, ino, dev) };
  } finally {
    await rm(workshop, { recursive: true, force: true });
  }
}

async function removeOwn(path: string, ino: number, dev: number): Promise<void> {
  try {
    const found = await lstat(path);
    if (found.ino === ino && found.dev === dev) await rm(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

async function refuseTaken(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isSocket()) {
      throw new CodedError('failed-precondition', `${path} is not a socket`, {
        facts: { path },
        next: 'remove it, or choose another address',
      });
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  if (!(await answers(path))) return;
  throw new CodedError('failed-precondition', `a process already listens on ${path}`, {
    facts: { path },
    next: 'stop it, or choose another address',
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(path);
    // A full backlog (EAGAIN) means that a process listens, too.
    connection.once('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error) ?? '')));
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
  });
}

/** `bound` is what the kernel is given in place of `path`. */
function requireShort(bound: string, path: string): void {
  const excess = Buffer.byteLength(bound) - longestSocketPath;
  if (excess <= 0) return;
  throw new CodedError(
    'invalid-argument',
    `the socket path ${path} is too long: ${bound === path ? 'it' : 'its folder'} must be ${excess} bytes shorter`,
    { facts: { path, longest: longestSocketPath }, next: 'choose a shorter address' },
  );
}
