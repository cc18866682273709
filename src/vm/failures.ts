import { CodedError } from '../errors.js';
import type { Child, Ending } from './process.js';
import type { ConsoleTail } from './tail.js';

/** What is known about a machine that did not do what it should. */
export interface Remains {
  /** Absent once its command has started: then the kernel has shown that it can. */
  readonly kernel: string | undefined;
  readonly program: string;
  readonly console: ConsoleTail;
  readonly qemu: Child;
}

function factsOf({ program, console, qemu }: Remains) {
  return { tool: program, stderr: qemu.messages.text(), console: console.text() };
}

/** The reason of the caller's signal when that is one of ours. */
export function cancelled(signal: AbortSignal | undefined): CodedError {
  const reason: unknown = signal?.reason;
  if (reason instanceof CodedError) return reason;
  return new CodedError('cancelled', 'the guest was cancelled', { cause: reason });
}

export function overdue(what: string, milliseconds: number, remains: Remains): CodedError {
  const message = `${guestOf(remains)} did not ${what} within ${milliseconds / 1000} s${lastWords(remains)}`;
  const next = 'give it more time (vm.boot_timeout_seconds in spfs.toml for its start), or see what it last said';
  return new CodedError('deadline-exceeded', message, { facts: factsOf(remains), next });
}

/** The guest itself said why it gave up. */
export function gaveUp(reason: string, remains: Remains): CodedError {
  return new CodedError('failed-precondition', `the guest failed: ${reason}`, {
    facts: factsOf(remains),
    next: /\blive\b/.test(reason)
      ? 'mend the live layer that binds there, or leave it out'
      : 'check the disks, and that the guest kernel is 6.4 or later with erofs, overlay and ext4',
  });
}

export function died(ending: Ending, remains: Remains): CodedError {
  const panic = /Kernel panic[^\n]*/.exec(remains.console.text())?.[0];
  const killed = ending.signal === undefined ? '' : ` (${remains.program} was killed by ${ending.signal})`;
  const what =
    panic === undefined
      ? `${guestOf(remains)} ended without a report${killed}`
      : `the guest's kernel gave up: ${panic}`;
  const facts = { ...factsOf(remains), exitCode: ending.exitCode ?? -1 };
  return new CodedError('internal', `${what}${lastWords(remains)}`, {
    facts,
    next: nextAfter(ending, remains.kernel === undefined || panic !== undefined ? seeLastWords : otherKernel),
  });
}

export function shareServerEnded(server: Child, ending: Ending): CodedError {
  const stderr = server.messages.text();
  const how = ending.signal === undefined ? `with exit code ${ending.exitCode}` : `by ${ending.signal}`;
  const said = stderr === '' ? '' : `; it last said:\n${lastLines(stderr)}`;
  return new CodedError('internal', `virtiofsd, which shares the live layers, ended ${how}${said}`, {
    facts: { tool: 'virtiofsd', exitCode: ending.exitCode ?? -1, stderr },
    next: nextAfter(ending, seeLastWords),
  });
}

const seeLastWords = 'see what it last said for the cause';
const otherKernel = 'check that it is a kernel for this machine, or name another one with --kernel';

function guestOf({ kernel }: Remains): string {
  return kernel === undefined ? 'the guest' : `the guest with the kernel ${kernel}`;
}

/** The kernel kills with SIGKILL what it has no memory for. */
function nextAfter({ signal }: Ending, otherwise: string): string {
  if (signal !== 'SIGKILL') return otherwise;
  return 'run it again; `dmesg` tells whether the machine was out of memory: then give the guest less with --memory';
}

function lastWords({ console, qemu }: Remains): string {
  const said = lastLines(`${qemu.messages.text()}\n${console.text()}`);
  return said === '' ? '' : `; it last said:\n${said}`;
}

function lastLines(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-12).join('\n');
}
