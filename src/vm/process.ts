import { execa } from 'execa';

import { killGroup, requireTool } from '../host/index.js';
import { ConsoleTail } from './tail.js';

/** How a process ended: one of the two is there. */
export interface Ending {
  readonly exitCode?: number;
  readonly signal?: string;
}

export interface Child {
  /** The socket behind one of its inherited descriptors, from 3 on. */
  socket(descriptor: number): NodeJS.ReadWriteStream;
  /** The last of what it wrote on standard error. */
  readonly messages: ConsoleTail;
  onMessage(listener: () => void): void;
  readonly ended: Promise<Ending>;
  /** Ends its process group: politely, then by force. */
  stop(): void;
}

const tailBytes = 16 * 1024;
const graceMs = 2_000;

/**
 * Starts a program that runs beside this one and dies with it, even when this one is killed: the kernel is asked for that,
 * through setpriv. It has a process group of its own, so that Ctrl-C is for this process alone to handle.
 *
 * @param sockets how many connected sockets it inherits, as descriptors from 3 on.
 * @param next what to do when the program is missing.
 * @throws CodedError `unavailable` when the program, or setpriv, is not on PATH.
 */
export async function startChild(
  program: string,
  args: readonly string[],
  o: { readonly sockets: number; readonly next: string },
): Promise<Child> {
  await requireTool(program, o.next);
  await requireTool('setpriv', 'install util-linux');
  const child = execa('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe', ...Array<'pipe'>(o.sockets).fill('pipe')],
    env: { LC_ALL: 'C' },
    buffer: false,
    reject: false,
    cleanup: false,
    detached: true,
  });
  const messages = new ConsoleTail(tailBytes);
  const stderr = child.stdio[2] as NodeJS.ReadableStream;
  stderr.on('data', (chunk: Buffer) => messages.push(chunk));
  const ended = child.then(({ exitCode, signal }): Ending => ({ exitCode, signal }));
  const kill = (signal: NodeJS.Signals) => {
    if (child.pid !== undefined) killGroup(child.pid, signal);
  };
  return {
    socket: (descriptor) => child.stdio[descriptor] as unknown as NodeJS.ReadWriteStream,
    messages,
    onMessage: (listener) => stderr.on('data', listener),
    ended,
    stop: () => {
      kill('SIGTERM');
      const force = setTimeout(() => kill('SIGKILL'), graceMs);
      void ended.finally(() => clearTimeout(force));
    },
  };
}
