import { join } from 'node:path';

import { packageRoot } from '../package.js';
import { commandScript, type GuestCommand } from './command.js';
import { characterDeviceMode, cpioArchive, type CpioMember, fileMode, folderMode, programMode } from './cpio.js';
import type { Disk } from './disks.js';
import { type GuestKernel, readNeeded } from './kernel.js';
import { readModules } from './modules.js';
import { type GuestSetup, setupScript, sharesScript } from './setup.js';

export interface InitramfsContent {
  readonly kernel: GuestKernel;
  /** Path of a statically linked busybox. */
  readonly busybox: string;
  readonly disks: readonly Disk[];
  readonly setup: GuestSetup;
  /** Absent: the guest reports as soon as it runs, and powers off. */
  readonly command?: GuestCommand;
  readonly signal?: AbortSignal;
}

const folders = ['bin', 'dev', 'proc', 'sys', 'guest', 'modules', 'l', 'writable', 'skeleton', 'root'];
const skeleton = ['skeleton/proc', 'skeleton/sys', 'skeleton/dev'];
/** The scripts of `src/vm/guest` beside `init`. */
const scripts = ['ports', 'mounts', 'bind', 'run', 'terminal'];

/**
 * The initramfs of one run: busybox, the modules, the scripts of `src/vm/guest`, and what this guest shall mount and run.
 * Equal content gives equal bytes.
 *
 * @throws CodedError `unavailable` when a file of the kernel, or busybox, is missing; what `commandScript`, `setupScript`
 *   and `readModules` throw.
 */
export async function buildInitramfs(content: InitramfsContent): Promise<Buffer> {
  const { kernel, disks, setup, command, signal } = content;
  const modules = await readModules(kernel, signal);
  const members: CpioMember[] = [
    ...[...folders, ...skeleton].map((name) => ({ name, mode: folderMode })),
    { name: 'dev/console', mode: characterDeviceMode, device: [5, 1] },
    { name: 'dev/null', mode: characterDeviceMode, device: [1, 3] },
    { name: 'bin/busybox', mode: programMode, content: await readNeeded(content.busybox, 'a static busybox') },
    { name: 'init', mode: programMode, content: await guestScript('init') },
    ...(await Promise.all(
      scripts.map(async (name) => ({ name: `guest/${name}`, mode: programMode, content: await guestScript(name) })),
    )),
    { name: 'guest/setup', mode: fileMode, content: setupScript(setup) },
    { name: 'guest/live', mode: fileMode, content: sharesScript(setup.shares) },
    { name: 'guest/disks', mode: fileMode, content: text(disks.map(diskLine)) },
    { name: 'guest/modules', mode: fileMode, content: text(modules.map(({ name }) => name)) },
    ...modules.map((module) => ({ name: `modules/${module.name}`, mode: fileMode, content: module.content })),
  ];
  if (command) members.push({ name: 'guest/command', mode: fileMode, content: commandScript(command) });
  return cpioArchive(members);
}

function guestScript(name: string): Promise<Buffer> {
  return readNeeded(join(packageRoot(), 'src', 'vm', 'guest', name), 'a script of the guest');
}

function diskLine(disk: Disk): string {
  return `${disk.place} ${disk.role} ${disk.serial} ${disk.readOnly ? 'ro' : 'rw'}`;
}

function text(lines: readonly string[]): Buffer {
  return Buffer.from(lines.map((item) => `${item}\n`).join(''));
}
