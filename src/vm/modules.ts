import { open, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

import { CodedError } from '../errors.js';
import { makeTemporaryFolder, run } from '../host/index.js';
import { type GuestKernel, type PreparedKernel, readNeeded } from './kernel.js';

/** A module as the guest loads it. */
export interface KernelModule {
  /** File name, ending in `.ko`. */
  readonly name: string;
  /** Decompressed. */
  readonly content: Buffer;
}

/** What the kernel's own build can compress modules with, and what Node 20 cannot decompress. */
const programs: Readonly<Record<string, readonly [program: string, ...args: string[]]>> = {
  '.xz': ['xz', '-qdc'],
  '.zst': ['zstd', '-qdc'],
};
const decompressMs = 30_000;
const readable = '.ko, .ko.gz, .ko.xz and .ko.zst';
/** Of an ELF file. The kernel refuses anything else with a message that names nothing. */
const magic = Buffer.from('\x7fELF', 'latin1');

/**
 * The modules of a guest kernel, in the order to load them.
 *
 * @throws CodedError `unavailable` when a file is missing or a program that decompresses it is; `failed-precondition` for
 *   another compression; `data-loss` for a file that is damaged; `cancelled`.
 */
export async function readModules(kernel: GuestKernel, signal?: AbortSignal): Promise<readonly KernelModule[]> {
  const paths = 'modules' in kernel ? kernel.modules : await preparedModules(kernel);
  const modules: KernelModule[] = [];
  for (const path of paths) {
    const [, name = basename(path), suffix = ''] = /^(.*\.ko)(\.[^.]*)?$/.exec(basename(path)) ?? [];
    const content = await decompressed(path, suffix, signal);
    if (!content.subarray(0, magic.length).equals(magic)) throw damaged(path, 'it holds no ELF file');
    modules.push({ name, content });
  }
  return modules;
}

async function preparedModules({ modulesFolder, modulesOrder }: PreparedKernel): Promise<readonly string[]> {
  const order = await readNeeded(modulesOrder, 'the load order of the guest kernel’s modules');
  const names = order.toString('utf8').split('\n');
  return names.filter((name) => name !== '').map((name) => join(modulesFolder, name));
}

async function decompressed(path: string, suffix: string, signal: AbortSignal | undefined): Promise<Buffer> {
  const program = programs[suffix];
  if (suffix !== '' && suffix !== '.gz' && program === undefined) throw unknownCompression(path, suffix);
  const bytes = await readNeeded(path, 'a module of the guest kernel');
  try {
    if (suffix === '.gz') return await promisify(gunzip)(bytes);
    return program === undefined ? bytes : await throughProgram(path, program, signal);
  } catch (error) {
    const isTool = error instanceof CodedError;
    if (isTool && error.code === 'unavailable') throw withoutProgram(path, program?.[0] ?? '', error);
    // Whatever else a decompressor ends with, other than that it had no time or no room, is about what it read.
    if (isTool && error.code !== 'internal') throw error;
    throw damaged(path, 'it cannot be decompressed', error);
  }
}

/** By way of a file: `run` keeps no more than the end of what a program prints. */
async function throughProgram(
  path: string,
  [program, ...args]: readonly [string, ...string[]],
  signal: AbortSignal | undefined,
): Promise<Buffer> {
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

function unknownCompression(path: string, suffix: string): CodedError {
  return new CodedError(
    'failed-precondition',
    `${path} (a module of the guest kernel) ends in ${suffix}, and modules are read when they end in ${readable}`,
    { facts: { path }, next: 'decompress it and run depmod, or name another kernel with --kernel' },
  );
}

function withoutProgram(path: string, program: string, cause: CodedError): CodedError {
  const message = `${path} (a module of the guest kernel) needs the program ${program}: ${cause.message}`;
  return new CodedError('unavailable', message, {
    facts: { path, tool: program },
    next: `install ${program}${program === 'xz' ? ' (Debian: xz-utils)' : ''}, or name another kernel with --kernel`,
    cause,
  });
}

function damaged(path: string, what: string, cause?: unknown): CodedError {
  return new CodedError('data-loss', `${path} (a module of the guest kernel) is damaged: ${what}`, {
    facts: { path },
    next: 'install the kernel again, or name another one with --kernel',
    cause,
  });
}
