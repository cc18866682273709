import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { errnoOf, CodedError } from '../errors.js';
import { flockExclusively, ofdLockWhole } from './libc.js';
import { asCodedError } from './space.js';

/** Held until released, or until the process ends in whatever way. */
export interface Lock {
  readonly path: string;
  release(): Promise<void>;
}

/**
 * Takes the lock file `path` for this process; it is made with mode 0600 when missing and then holds this process's id.
 *
 * @throws CodedError `failed-precondition` when another process holds it, naming that process.
 */
export async function lockExclusively(path: string): Promise<Lock> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600).catch(
    (error: unknown) => {
      throw asCodedError(error, `opening the lock file ${path}`);
    },
  );
  return held(path, file, async () => {
    await taking(
      () => flockExclusively(file.fd),
      () => heldBy(path, file),
    );
    await file.truncate(0);
    await file.write(`${process.pid}\n`, 0);
  });
}

/**
 * Takes a disk image from every virtual machine: an flock, and a write lock of the open-file-description kind on the whole
 * file. QEMU holds read locks of that kind on single bytes (100 and up for what it does, 200 and up for what it forbids
 * others) for as long as it has an image open, read-only ones too; a write lock on the whole file meets any of them.
 *
 * @throws CodedError `failed-precondition` when the image is in use; `not-found` when it does not exist.
 */
export async function lockImage(path: string): Promise<Lock> {
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw asCodedError(error, `opening the image ${path}`);
    throw new CodedError('not-found', `the image ${path} does not exist`, { facts: { path }, cause: error });
  });
  return held(path, file, async () => {
    const inUse = () => imageInUse(path);
    await taking(() => flockExclusively(file.fd), inUse);
    await taking(() => ofdLockWhole(file.fd), inUse);
  });
}

/** Closing the file is what releases both kinds of lock: no child inherits it, since Node opens files close-on-exec. */
async function held(path: string, file: FileHandle, take: () => Promise<void>): Promise<Lock> {
  try {
    await take();
  } catch (error) {
    await file.close();
    throw asCodedError(error, `locking ${path}`, path);
  }
  let released: Promise<void> | undefined;
  return { path, release: () => (released ??= file.close()) };
}

async function taking(take: () => void, taken: () => Promise<CodedError> | CodedError): Promise<void> {
  try {
    take();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'EAGAIN' && errno !== 'EWOULDBLOCK' && errno !== 'EACCES') throw error;
    throw await taken();
  }
}

async function heldBy(path: string, file: FileHandle): Promise<CodedError> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0);
  const pid = /^\d+/.exec(buffer.toString('latin1', 0, bytesRead))?.[0];
  const holder = pid === undefined ? 'another process' : `process ${pid}`;
  return new CodedError('failed-precondition', `${path} is locked by ${holder}`, {
    facts: { path, pid: pid === undefined ? undefined : Number(pid) },
    next: 'stop that process first',
  });
}

function imageInUse(path: string): CodedError {
  return new CodedError('failed-precondition', `the image ${path} is in use: a virtual machine has it open`, {
    facts: { path },
    next: 'stop the container first',
  });
}
