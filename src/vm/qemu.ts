import { execa } from 'execa';

import { errnoOf, SnapshotterError } from '../errors.js';
import { consoleDescriptor, type Machine, portDescriptor, qemuArguments, qemuProgram } from './arguments.js';
import { type Report, ReportReader } from './report.js';
import { Tail } from './tail.js';

export interface GuestRun {
  readonly machine: Machine;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** The command's output as it comes. */
  readonly onOutput: (chunk: Buffer) => void;
}

export interface GuestEnd {
  readonly report: Report;
  /** The last of what the guest's kernel and init printed. */
  readonly console: string;
}

const tailBytes = 16 * 1024;
const graceMs = 5_000;

/**
 * Starts one QEMU and returns when it is gone, whatever happened.
 *
 * @throws SnapshotterError `unavailable` no QEMU; `deadline-exceeded`; `cancelled`; `internal` when the machine ended without
 *   a report (a panic, a QEMU that refused its arguments), with the tail of the console and of QEMU's own messages.
 */
export async function runQemu(run: GuestRun): Promise<GuestEnd> {
  const program = qemuProgram(run.machine.architecture);
  const stop = new AbortController();
  const qemu = execa(program, qemuArguments(run.machine), {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    buffer: false,
    reject: false,
    cleanup: true,
    cancelSignal: stop.signal,
    forceKillAfterDelay: graceMs,
  });
  const console = new Tail(tailBytes);
  const messages = new Tail(tailBytes);
  let report: Report | undefined;
  let why: 'cancelled' | 'deadline' | undefined;
  const end = (reason: typeof why) => {
    why ??= reason;
    stop.abort();
  };
  const cancelled = () => end('cancelled');
  const deadline = setTimeout(() => end('deadline'), run.timeoutMs);
  run.signal?.addEventListener('abort', cancelled, { once: true });
  if (run.signal?.aborted) cancelled();
  let parting: NodeJS.Timeout | undefined;
  qemu.stderr.on('data', (chunk: Buffer) => messages.push(chunk));
  listen(qemu.stdio[consoleDescriptor] as unknown as NodeJS.ReadWriteStream, (chunk) => console.push(chunk));
  const port = qemu.stdio[portDescriptor] as unknown as NodeJS.ReadWriteStream;
  const reader = new ReportReader(run.machine.token);
  listen(port, (chunk) => {
    if (report) return;
    const next = reader.push(chunk);
    if (next.output.length > 0) run.onOutput(next.output);
    if (!next.report) return;
    report = next.report;
    // Everything has arrived and the disks are safe: let the guest power off, and do not wait for ever.
    port.write('received\n');
    parting = setTimeout(() => stop.abort(), graceMs);
  });
  const result = await qemu;
  clearTimeout(deadline);
  clearTimeout(parting);
  run.signal?.removeEventListener('abort', cancelled);
  if (report && why === undefined) return { report, console: console.text() };
  run.onOutput(reader.rest());
  throw failure({ run, program, why, console: console.text(), messages: messages.text(), result });
}

/** A socket that breaks when QEMU goes is no news: how QEMU ended says it all. */
function listen(socket: NodeJS.ReadWriteStream, onData: (chunk: Buffer) => void): void {
  socket.on('data', onData);
  socket.on('error', () => undefined);
}

interface Ending {
  readonly run: GuestRun;
  readonly program: string;
  readonly why: 'cancelled' | 'deadline' | undefined;
  readonly console: string;
  readonly messages: string;
  readonly result: { readonly exitCode?: number; readonly signal?: string; readonly cause?: unknown };
}

function failure(ending: Ending): SnapshotterError {
  const { program, console, messages, result } = ending;
  const facts = { tool: program, exitCode: result.exitCode ?? -1, stderr: messages, console };
  if (errnoOf(result.cause) === 'ENOENT') {
    return new SnapshotterError('unavailable', `${program} is not on PATH`, {
      next: 'install QEMU (Debian: qemu-system-x86)',
    });
  }
  if (ending.why === 'cancelled') return new SnapshotterError('cancelled', 'the guest was cancelled', { facts });
  const said = lastWords(console, messages);
  if (ending.why === 'deadline') {
    const message = `the guest did not finish within ${ending.run.timeoutMs} ms${said}`;
    return new SnapshotterError('deadline-exceeded', message, {
      facts,
      next: 'give it more time, or look at its console',
    });
  }
  const panic = /Kernel panic[^\n]*/.exec(console)?.[0];
  const what = panic === undefined ? 'the guest ended without a report' : `the guest's kernel gave up: ${panic}`;
  return new SnapshotterError('internal', `${what}${said}`, { facts, next: 'see the console for the cause' });
}

function lastWords(console: string, messages: string): string {
  const lines = [messages, console].flatMap((text) => text.split('\n')).filter((line) => line.trim() !== '');
  return lines.length === 0 ? '' : `; it last said:\n${lines.slice(-12).join('\n')}`;
}
