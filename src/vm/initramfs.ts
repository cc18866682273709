import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf, SnapshotterError } from '../errors.js';
import { packageRoot } from '../package.js';
import { commandScript, type GuestCommand } from './command.js';
import { characterDeviceMode, cpioArchive, type CpioMember, fileMode, folderMode, programMode } from './cpio.js';
import type { Disk } from './disks.js';

/** A guest kernel and what it needs before it can see a disk. */
export interface GuestKernel {
  readonly vmlinuz: string;
  /** Folder of uncompressed modules. */
  readonly modulesFolder: string;
  /** File that names one module of that folder a line, in the order to load them. */
  readonly modulesOrder: string;
}

export interface InitramfsContent {
  readonly kernel: GuestKernel;
  /** Path of a statically linked busybox. */
  readonly busybox: string;
  readonly disks: readonly Disk[];
  /** Absent: the guest reports as soon as it runs, and powers off. */
  readonly command?: GuestCommand;
}

const folders = ['bin', 'dev', 'proc', 'sys', 'guest', 'modules', 'layers', 'writable', 'skeleton', 'root'];
const skeleton = ['skeleton/proc', 'skeleton/sys', 'skeleton/dev'];

/**
 * The initramfs of one run: busybox, the modules, the scripts of `src/vm/guest`, and what this guest shall mount and run.
 * Equal content gives equal bytes.
 *
 * @throws SnapshotterError `unavailable` when a file of the kernel, or busybox, is missing; what `commandScript` throws.
 */
export async function buildInitramfs(content: InitramfsContent): Promise<Buffer> {
  const { kernel, disks, command } = content;
  const order = (await readNeeded(kernel.modulesOrder, 'the load order of the guest kernel’s modules')).toString(
    'utf8',
  );
  const modules = order.split('\n').filter((name) => name !== '');
  const scripts = join(packageRoot(), 'src', 'vm', 'guest');
  const members: CpioMember[] = [
    ...[...folders, ...skeleton].map((name) => ({ name, mode: folderMode })),
    { name: 'dev/console', mode: characterDeviceMode, device: [5, 1] },
    { name: 'dev/null', mode: characterDeviceMode, device: [1, 3] },
    { name: 'bin/busybox', mode: programMode, content: await readNeeded(content.busybox, 'a static busybox') },
    { name: 'init', mode: programMode, content: await readNeeded(join(scripts, 'init'), 'the guest’s init') },
    { name: 'guest/run', mode: programMode, content: await readNeeded(join(scripts, 'run'), 'the guest’s starter') },
    { name: 'guest/disks', mode: fileMode, content: text(disks.map(diskLine)) },
    { name: 'guest/modules', mode: fileMode, content: text(modules) },
  ];
  for (const name of modules) {
    const file = await readNeeded(join(kernel.modulesFolder, name), 'a module of the guest kernel');
    members.push({ name: `modules/${name}`, mode: fileMode, content: file });
  }
  if (command) members.push({ name: 'guest/command', mode: fileMode, content: commandScript(command) });
  return cpioArchive(members);
}

function diskLine(disk: Disk): string {
  return `${disk.role} ${disk.serial} ${disk.readOnly ? 'ro' : 'rw'}`;
}

function text(lines: readonly string[]): Buffer {
  return Buffer.from(lines.map((item) => `${item}\n`).join(''));
}

async function readNeeded(path: string, what: string): Promise<Buffer> {
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
