import { readFile } from 'node:fs/promises';

import { errnoOf, CodedError } from '../errors.js';

/** A kernel whose modules were prepared: decompressed, in one folder. */
export interface PreparedKernel {
  readonly vmlinuz: string;
  /** Folder of uncompressed modules. */
  readonly modulesFolder: string;
  /** File that names one module of that folder a line, in the order to load them. */
  readonly modulesOrder: string;
}

/** A kernel as a distribution installs it. */
export interface InstalledKernel {
  readonly vmlinuz: string;
  /** Paths of modules (`.ko`, `.ko.gz`, `.ko.xz`, `.ko.zst`), in the order to load them. */
  readonly modules: readonly string[];
}

/** A guest kernel and what it needs before it can see a disk. */
export type GuestKernel = PreparedKernel | InstalledKernel;

/** @throws CodedError `unavailable` when the file cannot be read. */
export async function readNeeded(path: string, what: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? 'is missing' : 'cannot be read';
    throw new CodedError('unavailable', `${path} (${what}) ${why}`, {
      facts: { path },
      next: 'run scripts/setup, or name another guest kernel and busybox',
      cause: error,
    });
  }
}
