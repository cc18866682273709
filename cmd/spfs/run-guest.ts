import { randomBytes } from 'node:crypto';
import { findBusybox, findGuestKernel, startGuest, type Guest, type GuestRunOptions } from '../../src/vm/index.js';
import { bytesOfArgument } from './arguments.js';
import type { Prepared } from './run-prepare.js';
import type { Session } from './session.js';
import { forwardSignals } from './forward.js';
import { enterTerminal } from './terminal.js';

export interface RunRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
  readonly signal: AbortSignal;
}

const mebibyte = 1024 * 1024;

/** Boots a guest for one command, on this process's streams. @returns the command's exit code. */
export async function runGuest(session: Session, prepared: Prepared, request: RunRequest): Promise<number> {
  const stop = new AbortController();
  const signal = AbortSignal.any([request.signal, stop.signal]);
  const guest = await startGuest(await guestOptions(session, prepared, { ...request, signal }));
  guest.started.catch(() => undefined);
  const onTerminal = isTerminal();
  const leave = onTerminal ? followTerminal(guest, stop) : () => undefined;
  const release = forwardSignals(guest, stop);
  try {
    return (await guest.ended).exitCode;
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    release();
    leave();
  }
}

/** What a guest would be started with. */
export async function guestOptions(
  session: Session,
  prepared: Prepared,
  request: RunRequest,
): Promise<GuestRunOptions> {
  const { config, log } = session;
  const { environment, stack, root, seconds } = prepared;
  const name = config.runtimeName ?? `spfs-${randomBytes(6).toString('hex')}`;
  return {
    argv: request.argv.map(bytesOfArgument),
    env: {
      SPFS_RUNTIME: name,
      SPFS_METRICS_SYNC_TIME_SECS: seconds.toFixed(3),
      ...(isTerminal() ? { TERM: process.env['TERM'] ?? 'linux' } : {}),
      ...request.env,
    },
    cwd: request.cwd,
    root: root === undefined ? 'minimal' : { mounts: root.mounts },
    stack: { mounts: stack?.mounts ?? [] },
    liveBinds: environment.liveLayers.flatMap(({ binds }) => binds),
    streams: isTerminal()
      ? {
          terminal: {
            input: process.stdin,
            output: process.stdout,
            columns: process.stdout.columns,
            rows: process.stdout.rows,
          },
        }
      : { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr },
    kernel: await findGuestKernel({ kernel: config.kernel, modules: config.modules }),
    busybox: await findBusybox(config.busybox),
    virtiofsd: config.virtiofsd,
    tmpfsSize: config.tmpfsSize,
    memoryMiB: Math.floor(config.memory / mebibyte),
    cpus: config.cpus,
    bootTimeoutMs: config.bootTimeoutSeconds * 1000,
    ...(config.accelerator === 'auto' ? {} : { accelerator: config.accelerator }),
    name,
    signal: request.signal,
    log,
  };
}

function isTerminal(): boolean {
  return process.stdin.isTTY && process.stdout.isTTY;
}

function followTerminal(guest: Guest, stop: AbortController): () => void {
  let leave: () => void = () => undefined;
  let over = false;
  // Until the command runs, Ctrl-C is for spfs.
  guest.started.then(
    () => {
      if (!over) leave = enterTerminal(guest, stop);
    },
    () => undefined,
  );
  return () => {
    over = true;
    leave();
  };
}
