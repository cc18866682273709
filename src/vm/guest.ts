import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { SnapshotterError } from '../errors.js';
import { type Logger, silentLogger } from '../log.js';
import { withScope } from '../scope.js';
import type { Mount } from '../vocabulary.js';
import { chooseAccelerator } from './accelerator.js';
import type { Accelerator } from './arguments.js';
import type { GuestCommand } from './command.js';
import { type Disk, disksFromMounts } from './disks.js';
import { buildInitramfs, type GuestKernel } from './initramfs.js';
import { type GuestEnd, runQemu } from './qemu.js';

export interface GuestOptions extends GuestCommand {
  /** A Mounts answer, or the disks made from one. */
  readonly disks: readonly Disk[] | { readonly mounts: readonly Mount[] };
  readonly kernel: GuestKernel;
  /** Path of a statically linked busybox. */
  readonly busybox: string;
  /** Default 512. */
  readonly memoryMiB?: number;
  /** Default two minutes, from the start of QEMU to its end. */
  readonly timeoutMs?: number;
  /** Default: KVM when it runs the guest's kernel, else TCG. */
  readonly accelerator?: Accelerator;
  readonly signal?: AbortSignal;
  readonly log?: Logger;
  readonly onOutput?: (chunk: Buffer) => void;
}

export interface GuestResult {
  /** The command's exit status; 126 and 127 as a shell gives them, 128 + n for signal n. */
  readonly exitCode: number;
  /** What the command wrote to standard output and standard error. */
  readonly output: Buffer;
  readonly seconds: number;
  /** The guest's uptime when the command started. */
  readonly bootSeconds: number;
  readonly accelerator: Accelerator;
  readonly console: string;
}

const defaultMemoryMiB = 512;
const defaultTimeoutMs = 120_000;
const probeMs = 5_000;
const mostOutputBytes = 64 * 1024 * 1024;

/**
 * Boots a guest from a snapshot's disks, runs one command in its root, and powers off after the writable layer is unmounted.
 * QEMU is gone and the temporary folder removed when this returns.
 *
 * @throws SnapshotterError what `disksFromMounts`, `buildInitramfs` and `runQemu` throw; `failed-precondition` when the guest
 *   could not mount its disks (its kernel may be too old); `resource-exhausted` for more than 64 MiB of output.
 */
export async function runInGuest(options: GuestOptions): Promise<GuestResult> {
  const log = options.log ?? silentLogger();
  const disks = 'mounts' in options.disks ? await disksFromMounts(options.disks.mounts) : options.disks;
  const accelerator = options.accelerator ?? (await chooseAccelerator(() => tryKvm(options, log)));
  const collected = new Output(options.onOutput);
  const started = performance.now();
  const end = await boot({ ...options, log, accelerator, task: { disks, collected } });
  const seconds = (performance.now() - started) / 1000;
  if (end.report.kind === 'fail') {
    throw new SnapshotterError('failed-precondition', `the guest failed: ${end.report.reason}`, {
      facts: { console: end.console },
      next: 'check the disks, and that the guest kernel is 6.4 or later with erofs, overlay and ext4',
    });
  }
  const { status, bootSeconds } = end.report;
  log.debug({ accelerator, seconds, bootSeconds, exitCode: status }, 'the guest ran its command');
  return { exitCode: status, output: collected.whole(), seconds, bootSeconds, accelerator, console: end.console };
}

/** Without the caller's signal: one caller's cancellation must not decide for the process. */
function tryKvm({ argv, disks, kernel, busybox }: GuestOptions, log: Logger): Promise<GuestEnd> {
  return boot({ argv, disks, kernel, busybox, log, accelerator: 'kvm' });
}

interface Boot extends GuestOptions {
  readonly log: Logger;
  readonly accelerator: Accelerator;
  /** Absent: the guest only shows that it can boot. */
  readonly task?: { readonly disks: readonly Disk[]; readonly collected: Output };
}

function boot(options: Boot): Promise<GuestEnd> {
  const { task, kernel, busybox } = options;
  const disks = task?.disks ?? [];
  return withScope(options.log, async (scope) => {
    const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-guest-'));
    scope.defer(folder, () => rm(folder, { recursive: true, force: true }));
    const initramfs = join(folder, 'initramfs.cpio');
    const command = task && { argv: options.argv, env: options.env, cwd: options.cwd };
    await writeFile(initramfs, await buildInitramfs({ kernel, busybox, disks, command }), { mode: 0o600 });
    const tooMuch = new AbortController();
    const end = runQemu({
      machine: {
        architecture: process.arch,
        accelerator: options.accelerator,
        memoryMiB: options.memoryMiB ?? defaultMemoryMiB,
        vmlinuz: kernel.vmlinuz,
        initramfs,
        disks,
        token: randomBytes(16).toString('hex'),
      },
      timeoutMs: task ? (options.timeoutMs ?? defaultTimeoutMs) : probeMs,
      signal: options.signal ? AbortSignal.any([options.signal, tooMuch.signal]) : tooMuch.signal,
      onOutput: (chunk) => {
        if (task && !task.collected.take(chunk)) tooMuch.abort();
      },
    });
    return await end.catch((error: unknown) => {
      throw tooMuch.signal.aborted ? tooMuchOutput() : error;
    });
  });
}

/** What the command wrote, up to a bound. */
class Output {
  readonly #chunks: Buffer[] = [];
  readonly #onOutput: ((chunk: Buffer) => void) | undefined;
  #bytes = 0;

  constructor(onOutput: ((chunk: Buffer) => void) | undefined) {
    this.#onOutput = onOutput;
  }

  /** False when it is more than this host keeps. */
  take(chunk: Buffer): boolean {
    this.#bytes += chunk.length;
    if (this.#bytes > mostOutputBytes) return false;
    this.#chunks.push(chunk);
    this.#onOutput?.(chunk);
    return true;
  }

  whole(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

function tooMuchOutput(): SnapshotterError {
  return new SnapshotterError('resource-exhausted', `the command wrote more than ${mostOutputBytes} bytes`, {
    next: 'let it write into a file, which stays in the writable layer',
  });
}
