import { SnapshotterError } from '../errors.js';
import type { Child, Ending } from './process.js';
import type { Tail } from './tail.js';

/** What is known about a machine that did not do what it should. */
export interface Remains {
  readonly program: string;
  readonly console: Tail;
  readonly qemu: Child;
}

function factsOf({ program, console, qemu }: Remains) {
  return { tool: program, stderr: qemu.messages.text(), console: console.text() };
}

/** The reason of the caller's signal when that is one of ours. */
export function cancelled(signal: AbortSignal | undefined): SnapshotterError {
  const reason: unknown = signal?.reason;
  if (reason instanceof SnapshotterError) return reason;
  return new SnapshotterError('cancelled', 'the guest was cancelled', { cause: reason });
}

export function overdue(what: string, milliseconds: number, remains: Remains): SnapshotterError {
  const message = `the guest did not ${what} within ${milliseconds} ms${lastWords(remains)}`;
  const next = 'give it more time, or look at its console';
  return new SnapshotterError('deadline-exceeded', message, { facts: factsOf(remains), next });
}

/** The guest itself said why it gave up. */
export function gaveUp(reason: string, remains: Remains): SnapshotterError {
  return new SnapshotterError('failed-precondition', `the guest failed: ${reason}`, {
    facts: factsOf(remains),
    next: 'check the disks, and that the guest kernel is 6.4 or later with erofs, overlay and ext4',
  });
}

export function died(ending: Ending, remains: Remains): SnapshotterError {
  const panic = /Kernel panic[^\n]*/.exec(remains.console.text())?.[0];
  const killed = ending.signal === undefined ? '' : ` (${remains.program} was killed by ${ending.signal})`;
  const what =
    panic === undefined ? `the guest ended without a report${killed}` : `the guest's kernel gave up: ${panic}`;
  const facts = { ...factsOf(remains), exitCode: ending.exitCode ?? -1 };
  return new SnapshotterError('internal', `${what}${lastWords(remains)}`, {
    facts,
    next: 'see the console for the cause',
  });
}

export function shareServerEnded(server: Child, ending: Ending): SnapshotterError {
  const stderr = server.messages.text();
  const how = ending.signal === undefined ? `with exit code ${ending.exitCode}` : `by ${ending.signal}`;
  const said = stderr === '' ? '' : `; it last said:\n${lastLines(stderr)}`;
  return new SnapshotterError('internal', `virtiofsd, which shares the live layers, ended ${how}${said}`, {
    facts: { tool: 'virtiofsd', exitCode: ending.exitCode ?? -1, stderr },
    next: 'see its messages for the cause',
  });
}

function lastWords({ console, qemu }: Remains): string {
  const said = lastLines(`${qemu.messages.text()}\n${console.text()}`);
  return said === '' ? '' : `; it last said:\n${said}`;
}

function lastLines(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-12).join('\n');
}
