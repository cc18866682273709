import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { CodedError } from '../errors.js';
import { makeTemporaryFolder } from '../host/index.js';
import { longestSocketPath } from '../limits.js';
import { type Logger } from '../log.js';
import { Scope, withScope } from '../scope.js';
import { type Accelerator, type Machine, qemuArguments, qemuProgram } from './arguments.js';
import type { GuestCommand } from './command.js';
import type { Disk } from './disks.js';
import { cancelled, shareServerEnded } from './failures.js';
import { buildInitramfs } from './initramfs.js';
import type { GuestKernel } from './kernel.js';
import type { PlainStreams, PlannedProcess, TerminalStreams } from './options.js';
import { type GuestSetup, portNames } from './setup.js';
import { type Child, startChild } from './process.js';
import { RunningGuest } from './running.js';
import { holdShares, replaced, type Share } from './shares.js';
import { findVirtiofsd, readyMessage, replacedMessage, virtiofsdCommand } from './virtiofsd.js';

/** All that makes one guest. */
export interface Boot {
  readonly kernel: GuestKernel;
  readonly busybox: string;
  readonly virtiofsd?: string;
  readonly disks: readonly Disk[];
  readonly setup: GuestSetup;
  /** Absent, with the streams: the guest only shows that it can boot. */
  readonly command?: GuestCommand;
  readonly streams?: PlainStreams | TerminalStreams;
  readonly memoryMiB?: number;
  readonly cpus?: number;
  readonly name?: string;
  readonly bootTimeoutMs?: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly log: Logger;
}

const defaultMemoryMiB = 512;
const defaultBootMs = 120_000;
const shareServerMs = 10_000;

/** The machine of a guest whose files are, or will be, in `folder`. */
export function machineOf(boot: Boot, accelerator: Accelerator, folder: string): Machine {
  return {
    architecture: process.arch,
    accelerator,
    memoryMiB: boot.memoryMiB ?? defaultMemoryMiB,
    cpus: boot.cpus,
    name: boot.name,
    vmlinuz: boot.kernel.vmlinuz,
    initramfs: join(folder, 'initramfs.cpio'),
    disks: boot.disks,
    ports: portNames(boot.setup.streams),
    shareSocket: boot.setup.shares.length === 0 ? undefined : join(folder, 'live.sock'),
    token: randomBytes(16).toString('hex'),
  };
}

/** How virtiofsd is started for that machine; undefined when nothing is shared. @throws what `findVirtiofsd` throws. */
export async function shareCommand(boot: Boot, machine: Machine, folder: string): Promise<PlannedProcess | undefined> {
  if (machine.shareSocket === undefined) return undefined;
  return await virtiofsdCommand({
    program: boot.virtiofsd ?? (await findVirtiofsd()),
    socket: machine.shareSocket,
    folder: join(folder, 'live'),
    shares: boot.setup.shares,
    signal: boot.signal,
  });
}

/**
 * Starts a guest. What it needs beside itself is released when it has ended, or before this throws.
 *
 * @throws CodedError what `buildInitramfs`, `findVirtiofsd` and `startChild` throw; `cancelled`; `invalid-argument` for
 *   a temporary folder whose path is too long; `internal` when virtiofsd does not start.
 */
export async function bootGuest(boot: Boot, accelerator: Accelerator): Promise<RunningGuest> {
  const scope = new Scope(boot.log);
  try {
    const folder = await makeTemporaryFolder('guest');
    scope.defer(folder, () => rm(folder, { recursive: true, force: true }));
    const machine = machineOf(boot, accelerator, folder);
    await writeFile(machine.initramfs, await buildInitramfs(boot), { mode: 0o600 });
    const shareServer = await startShareServer(boot, machine, folder, scope);
    const program = qemuProgram(machine.architecture);
    if (boot.signal?.aborted) throw cancelled(boot.signal);
    const qemu = await startChild(program, qemuArguments(machine), {
      sockets: 1 + machine.ports.length,
      next: 'install QEMU (Debian: qemu-system-x86)',
    });
    const { streams, timeoutMs, signal, bootTimeoutMs = defaultBootMs } = boot;
    const close = scope.move();
    return new RunningGuest({ machine, program, qemu, shareServer, streams, bootTimeoutMs, timeoutMs, signal, close });
  } catch (error) {
    await scope.close();
    throw boot.signal?.aborted ? cancelled(boot.signal) : error;
  }
}

async function startShareServer(
  boot: Boot,
  machine: Machine,
  folder: string,
  scope: Scope,
): Promise<Child | undefined> {
  if (machine.shareSocket === undefined) return undefined;
  if (Buffer.byteLength(machine.shareSocket) > longestSocketPath) {
    throw new CodedError('invalid-argument', `${machine.shareSocket} is too long for the address of a socket`, {
      next: `let TMPDIR name a folder with a shorter path (${longestSocketPath} bytes with all that follows)`,
    });
  }
  await mkdir(join(folder, 'live'));
  const { shares } = boot.setup;
  return await withScope(boot.log, async (held) => {
    await holdShares(shares, held);
    return await serveShares(boot, machine, folder, scope);
  });
}

async function serveShares(boot: Boot, machine: Machine, folder: string, scope: Scope): Promise<Child | undefined> {
  const command = await shareCommand(boot, machine, folder);
  if (!command) return undefined;
  const server = await startChild(command.program, command.argv, { sockets: 0, next: 'install util-linux' });
  scope.defer('virtiofsd', async () => {
    server.stop();
    await server.ended;
  });
  await ready(server, boot.setup.shares, boot.signal);
  return server;
}

/** Returns when a QEMU may connect. */
async function ready(server: Child, shares: readonly Share[], signal: AbortSignal | undefined): Promise<void> {
  const settled = new AbortController();
  const listen = { once: true, signal: settled.signal };
  const saysSo = new Promise<void>((resolve) => {
    server.onMessage(() => {
      if (server.messages.text().includes(readyMessage)) resolve();
    });
  });
  const fails = new Promise<never>((_, reject) => {
    const late = `virtiofsd was not ready within ${shareServerMs} ms`;
    const facts = { stderr: server.messages.text() };
    const deadline = setTimeout(() => reject(new CodedError('deadline-exceeded', late, { facts })), shareServerMs);
    settled.signal.addEventListener('abort', () => clearTimeout(deadline), { once: true });
    signal?.addEventListener('abort', () => reject(cancelled(signal)), listen);
    void server.ended.then((ending) => {
      const share = shares[Number(replacedMessage.exec(server.messages.text())?.[1])];
      reject(share === undefined ? shareServerEnded(server, ending) : replaced(share.source));
    });
  });
  try {
    await Promise.race([saysSo, fails]);
  } finally {
    settled.abort();
  }
}
