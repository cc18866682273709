import { randomBytes } from 'node:crypto';
import { access, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describeError, errnoOf, CodedError } from '../errors.js';
import { asCodedError, isOutOfSpace } from './space.js';

/** How names of unfinished files begin: recovery sweeps them. */
export const temporaryPrefix = '.tmp-';

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/** A name for an unfinished file, in the folder where it will be published under `finalPath`. */
export function temporaryBeside(finalPath: string): string {
  return join(dirname(finalPath), `${temporaryPrefix}${randomBytes(8).toString('hex')}-${basename(finalPath)}`);
}

/** Makes a finished file or folder appear under its name, for good: flush, rename, flush the folder. Replaces a file of that name. */
export async function publish(temporary: string, finalPath: string): Promise<void> {
  try {
    await syncFile(temporary);
    await rename(temporary, finalPath);
    await syncFolder(dirname(finalPath));
  } catch (error) {
    throw asCodedError(error, `publishing ${finalPath}`, finalPath);
  }
}

/**
 * The same for several files of one folder, which appear in the order given: the last one tells that all are there. Flushed side by
 * side, and the folder once, since each flush may wait for the disk.
 */
export async function publishTogether(
  files: readonly (readonly [temporary: string, finalPath: string])[],
): Promise<void> {
  await Promise.all(files.map(([temporary]) => syncFile(temporary)));
  for (const [temporary, finalPath] of files) await rename(temporary, finalPath);
  for (const folder of new Set(files.map(([, finalPath]) => dirname(finalPath)))) await syncFolder(folder);
}

/**
 * Writes a whole small file, which a reader or a crash sees either as it was or as it is meant; `mode` is 0600 when not given.
 * When it fails nothing is left behind.
 */
export async function writeFileDurably(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = await stageFile(path, data, mode);
  try {
    await publishStaged(temporary, path);
  } catch (error) {
    await removeQuietly(temporary);
    throw asCodedError(error, `writing ${path}`, path);
  }
}

/**
 * The first half of {@link writeFileDurably}, in which all space is taken: the file is whole and flushed under a temporary name.
 *
 * @returns that name; when this fails nothing is left behind
 */
export async function stageFile(path: string, data: string | Uint8Array, mode = 0o600): Promise<string> {
  const temporary = temporaryBeside(path);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(data);
      await file.chmod(mode); // whatever the umask took away
      await file.sync();
    } finally {
      await file.close();
    }
    return temporary;
  } catch (error) {
    // Before the error is worded: what the unfinished file took is free again, and the message counts free bytes.
    await removeQuietly(temporary);
    throw asCodedError(error, `writing ${path}`, path);
  }
}

/** The second half: the staged file takes its name, for good. */
export async function publishStaged(temporary: string, path: string): Promise<void> {
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/** A disk that takes nothing may refuse this too, and why the file is given up is what counts: recovery sweeps it. */
async function removeQuietly(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => undefined);
}

/**
 * Finds out whether a folder takes files, by making and removing them.
 *
 * @param bytes that the first one has, on the disk
 * @throws the system's error
 */
export async function probeWriting(
  folder: string,
  { bytes, files }: { readonly bytes: number; readonly files: number },
): Promise<void> {
  const paths = Array.from({ length: files }, (_, at) => join(folder, `${temporaryPrefix}probe-${at}`));
  try {
    for (const [at, path] of paths.entries()) {
      const file = await open(path, 'w', 0o600);
      try {
        if (at === 0) await file.writeFile(Buffer.alloc(bytes));
        await file.sync();
      } finally {
        await file.close();
      }
    }
  } finally {
    for (const path of paths) await removeQuietly(path);
  }
}

/**
 * Makes a folder with `mode`, and those above it that are missing. Node's own recursive mkdir says ENOENT of a full disk and of a
 * read-only filesystem, and never ends below /proc.
 *
 * @throws CodedError `failed-precondition` when it cannot be made; `resource-exhausted`
 */
export async function makeFolder(path: string, mode: number): Promise<void> {
  try {
    await makeWithParents(path, mode);
  } catch (error) {
    if (isOutOfSpace(errnoOf(error))) throw asCodedError(error, `making the folder ${path}`, path);
    throw new CodedError('failed-precondition', `folder ${path} cannot be made: ${describeError(error)}`, {
      facts: { path },
      next: process.geteuid?.() === 0 ? 'choose another place' : 'run this as root',
      cause: error,
    });
  }
}

async function makeWithParents(path: string, mode: number): Promise<void> {
  try {
    await makeUnlessThere(path, mode);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || dirname(path) === path) throw error;
    await makeWithParents(dirname(path), mode);
    await makeUnlessThere(path, mode);
  }
}

/** Another process may make the same folder at the same moment. */
async function makeUnlessThere(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error;
  }
}

/** Flushes a file's data and size to the disk. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Lets the disk write what a file has so far while another process adds to it, so that `syncFile` in the end waits for the rest
 * alone. Callers that start it wait for its end: the kernel tells of a failed write once, and may have told it here.
 */
export class EarlyFlush {
  readonly #path: string;
  #running: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Says that the file has grown. Returns at once; one flush runs at a time. */
  start(): void {
    this.#running ??= this.#flush()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => (this.#running = undefined));
  }

  /** Nothing is flushed any more when this resolves, whatever came of it. */
  async settle(): Promise<void> {
    await this.#running;
  }

  /** To be called when it has settled. @throws what a flush ended with */
  check(): void {
    if (this.#failure) throw this.#failure.error;
  }

  async #flush(): Promise<void> {
    const file = await open(this.#path, 'r');
    try {
      await file.datasync();
    } finally {
      await file.close();
    }
  }
}

/** Flushes a folder's entries to the disk: creations, renames and removals in it. */
export async function syncFolder(path: string): Promise<void> {
  await syncFile(path);
}
