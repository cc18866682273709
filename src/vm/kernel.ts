import { open, readFile, rm } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';

import { errnoOf, SnapshotterError } from '../errors.js';
import { makeTemporaryFolder, run } from '../host/index.js';

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
  /** Paths of modules (`.ko`, `.ko.xz`, `.ko.zst`, `.ko.gz`), in the order to load them. */
  readonly modules: readonly string[];
}

/** A guest kernel and what it needs before it can see a disk. */
export type GuestKernel = PreparedKernel | InstalledKernel;

/** A module as the guest loads it. */
export interface KernelModule {
  /** File name, ending in `.ko`. */
  readonly name: string;
  /** Decompressed. */
  readonly content: Buffer;
}

const decompressors: Readonly<Record<string, readonly [program: string, ...args: string[]]>> = {
  '.xz': ['xz', '-dc'],
  '.zst': ['zstd', '-qdc'],
  '.gz': ['gzip', '-dc'],
};
const decompressMs = 30_000;

/**
 * The modules of a guest kernel, in the order to load them.
 *
 * @throws SnapshotterError `unavailable` when a file is missing or a program that decompresses it is; what `run` throws.
 */
export async function readModules(kernel: GuestKernel, signal?: AbortSignal): Promise<readonly KernelModule[]> {
  const paths = 'modules' in kernel ? kernel.modules : await preparedModules(kernel);
  const modules: KernelModule[] = [];
  for (const path of paths) {
    const suffix = extname(path);
    const name = basename(path, suffix === '.ko' ? '' : suffix);
    const decompressor = decompressors[suffix];
    const content = decompressor
      ? await decompressed(path, decompressor, signal)
      : await readNeeded(path, 'a module of the guest kernel');
    modules.push({ name, content });
  }
  return modules;
}

async function preparedModules({ modulesFolder, modulesOrder }: PreparedKernel): Promise<readonly string[]> {
  const order = await readNeeded(modulesOrder, 'the load order of the guest kernel’s modules');
  const names = order.toString('utf8').split('\n');
  return names.filter((name) => name !== '').map((name) => join(modulesFolder, name));
}

async function decompressed(
  path: string,
  [program, ...args]: readonly [string, ...string[]],
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  await readNeeded(path, 'a module of the guest kernel');
  const folder = await makeTemporaryFolder('module');
  try {
    const file = await open(join(folder, 'module'), 'wx+', 0o600);
    try {
      await run(program, [...args, path], {
        deadlineMs: decompressMs,
        signal,
        stdout: file.fd,
        what: `reading ${path}`,
      });
      return await readFile(join(folder, 'module'));
    } finally {
      await file.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @throws SnapshotterError `unavailable` when the file cannot be read. */
export async function readNeeded(path: string, what: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? 'is missing' : 'cannot be read';
    throw new SnapshotterError('unavailable', `${path} (${what}) ${why}`, {
      facts: { path },
      next: 'run scripts/setup, or name another guest kernel and busybox',
      cause: error,
    });
  }
}
