import { silentLogger } from '../log.js';
import { chooseAccelerator, expectedAccelerator } from './accelerator.js';
import { qemuArguments, qemuProgram } from './arguments.js';
import { type Boot, bootGuest, machineOf, shareCommand } from './boot.js';
import { type Disk, disksFromMounts } from './disks.js';
import type { Guest, GuestPlan, GuestRoot, GuestRunOptions } from './options.js';
import type { SetupStreams } from './setup.js';
import { checkShares } from './shares.js';

/**
 * Boots a guest that runs one command: in a root of its own, with a stack and live shares at `/spfs`, on the caller's streams
 * or on a terminal. Returns as soon as QEMU runs; `started` and `ended` tell the rest. Nothing is left when `ended` settles.
 *
 * @throws CodedError `invalid-argument` or `not-found` for what was given; `data-loss` from `disksFromMounts`;
 *   `unavailable` when a program or a file of the guest is missing; `cancelled`.
 */
export async function startGuest(options: GuestRunOptions): Promise<Guest> {
  const boot = await bootOf(options);
  const { kernel, busybox } = boot;
  const accelerator = options.accelerator ?? (await chooseAccelerator({ kernel, busybox, log: boot.log }));
  return await bootGuest(boot, accelerator);
}

/**
 * What `startGuest` would start, without starting it: KVM is not tried, so where it opens it is taken to work unless it was
 * found not to since the machine started.
 *
 * @throws CodedError as `startGuest` does.
 */
export async function planGuest(options: GuestRunOptions): Promise<GuestPlan> {
  const folder = '<temporary>';
  const boot = await bootOf(options);
  const accelerator = options.accelerator ?? (await expectedAccelerator(boot.kernel));
  const machine = machineOf(boot, accelerator, folder);
  const virtiofsd = await shareCommand(boot, machine, folder);
  const qemu = { program: qemuProgram(machine.architecture), argv: qemuArguments(machine) };
  return { accelerator, qemu, virtiofsd };
}

async function bootOf(options: GuestRunOptions): Promise<Boot> {
  const { root, stack, liveBinds = [], log = silentLogger() } = options;
  const shares = await checkShares(liveBinds);
  const disks: Disk[] = [];
  if (root !== 'minimal') disks.push(...(await disksFromMounts(root.mounts)));
  if (stack && stack.mounts.length > 0) disks.push(...(await disksFromMounts(stack.mounts, 'stack')));
  return {
    ...options,
    log,
    disks,
    command: options,
    setup: {
      root: rootOf(root),
      stack: stack !== undefined || shares.length > 0,
      shares,
      streams: streamsOf(options.streams),
      tmpfsSize: options.tmpfsSize,
    },
  };
}

function rootOf(root: GuestRoot): 'minimal' | 'disks' | 'read-only' {
  if (root === 'minimal') return 'minimal';
  return root.readOnly === true ? 'read-only' : 'disks';
}

function streamsOf(streams: GuestRunOptions['streams']): SetupStreams {
  if ('terminal' in streams) return { kind: 'terminal', ...sizeOf(streams.terminal) };
  return { kind: 'plain', stdin: streams.stdin !== undefined, stderr: streams.stderr !== 'stdout' };
}

function sizeOf({ columns, rows }: { readonly columns: number; readonly rows: number }) {
  return { columns, rows };
}
