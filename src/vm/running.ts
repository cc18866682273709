import { constants } from 'node:os';

import { CodedError } from '../errors.js';
import { consoleDescriptor, firstPortDescriptor, type Machine } from './arguments.js';
import * as failures from './failures.js';
import type { Guest, GuestResult, GuestStart, PlainStreams, TerminalStreams } from './options.js';
import { cells } from './setup.js';
import type { Child } from './process.js';
import { LineReader, parseReport, type Report } from './report.js';
import { feedInput, pumpOutput } from './streams.js';
import { ConsoleTail } from './tail.js';
import { telnetBytes, TelnetReader } from './telnet.js';

export interface Running {
  readonly machine: Machine;
  readonly program: string;
  readonly qemu: Child;
  readonly shareServer: Child | undefined;
  /** Absent: the guest runs no command. */
  readonly streams: PlainStreams | TerminalStreams | undefined;
  readonly bootTimeoutMs: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Gives back everything else; awaited before `ended` settles. */
  readonly close: () => Promise<void>;
}

const consoleBytes = 16 * 1024;
/** For the guest to power off, and for outputs to be handed on after a machine ended by itself. */
const partingMs = 5_000;
const leftoverMs = 1_000;
/** QEMU takes virtiofsd along; only when it stays was virtiofsd the first to go. */
const settlingMs = 500;

/** One QEMU from its start to its end. What ends it first decides how it is reported. */
export class RunningGuest implements Guest {
  readonly started: Promise<GuestStart>;
  readonly ended: Promise<GuestResult>;
  readonly #running: Running;
  readonly #console = new ConsoleTail(consoleBytes);
  readonly #timers: NodeJS.Timeout[] = [];
  #reportStart: { resolve: (start: GuestStart) => void; reject: (error: unknown) => void } | undefined;
  #bootSeconds: number | undefined;
  #report: Report | undefined;
  #outputsWhole = false;
  /** The guest has said everything: what happens from here on changes nothing. */
  #isOver = false;
  #failure: CodedError | undefined;

  constructor(running: Running) {
    this.#running = running;
    this.started = new Promise((resolve, reject) => {
      this.#reportStart = { resolve, reject };
    });
    this.ended = this.#supervise().finally(() => running.close());
    // A caller of either promise sees the failure; the other rejection must not crash the process.
    this.ended.catch((error: unknown) => this.#reportStart?.reject(error));
    this.started.catch(() => undefined);
  }

  kill(signal: NodeJS.Signals | number): void {
    const number = typeof signal === 'number' ? signal : constants.signals[signal];
    if (!Number.isInteger(number) || number < 1 || number > 64) {
      throw new CodedError('invalid-argument', `${signal} is not a signal`, { next: 'give its name or number' });
    }
    this.#order(`signal ${number}`);
  }

  resize(columns: number, rows: number): void {
    this.#order(`resize ${cells(columns)} ${cells(rows)}`);
  }

  async #supervise(): Promise<GuestResult> {
    const { qemu, shareServer, signal } = this.#running;
    const began = performance.now();
    const cancel = () => this.#fail(failures.cancelled(signal));
    this.#watch();
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    const { outputs, letGo } = this.#connectStreams();
    const handedOn = Promise.all(outputs).then((whole) => {
      this.#outputsWhole = whole.every(Boolean);
      this.#partWhenOver();
    });
    try {
      const ending = await qemu.ended;
      if (!this.#isOver) await Promise.race([handedOn, this.#after(leftoverMs)]);
      if (this.#failure) throw this.#failure;
      if (this.#report?.kind === 'fail') throw failures.gaveUp(this.#report.reason, this.#remains());
      if (!this.#isOver || this.#report?.kind !== 'exit') throw failures.died(ending, this.#remains());
      const seconds = (performance.now() - began) / 1000;
      return { ...this.#start(), exitCode: this.#report.status, seconds, console: this.#console.text() };
    } finally {
      signal?.removeEventListener('abort', cancel);
      for (const timer of this.#timers) clearTimeout(timer);
      letGo();
      shareServer?.stop();
    }
  }

  #watch(): void {
    const { qemu, shareServer, bootTimeoutMs, timeoutMs } = this.#running;
    listen(qemu.socket(consoleDescriptor), (chunk) => this.#console.push(chunk));
    const lines = new LineReader();
    listen(this.#port('control'), (chunk) => {
      for (const line of lines.push(chunk)) this.#hear(parseReport(line));
    });
    void this.#after(bootTimeoutMs).then(() => {
      if (this.#bootSeconds === undefined)
        this.#fail(failures.overdue('start its command', bootTimeoutMs, this.#remains()));
    });
    if (timeoutMs !== undefined) {
      void this.#after(timeoutMs).then(() => this.#fail(failures.overdue('finish', timeoutMs, this.#remains())));
    }
    void shareServer?.ended.then(async (ending) => {
      await this.#after(settlingMs);
      this.#fail(failures.shareServerEnded(shareServer, ending));
    });
  }

  #connectStreams(): { readonly outputs: readonly Promise<boolean>[]; readonly letGo: () => void } {
    const { streams, machine } = this.#running;
    const { token } = machine;
    if (!streams) return { outputs: [Promise.resolve(true)], letGo: () => undefined };
    if ('terminal' in streams) {
      const { input, output } = streams.terminal;
      const socket = this.#port('terminal');
      const reader = new TelnetReader();
      const decode = (chunk: Buffer) => reader.push(chunk);
      const pumped = pumpOutput({ socket, token, target: output, decode, onClosed: () => this.kill('SIGHUP') });
      const ended = pumped.then((whole) => {
        this.#order('received-terminal');
        return whole;
      });
      // The end of a terminal's input is no end for the guest: it hangs up.
      return {
        outputs: [ended],
        letGo: feedInput(input, socket, { encode: telnetBytes, onEnd: () => this.kill('SIGHUP') }),
      };
    }
    const targets = { stdout: streams.stdout, ...(streams.stderr === 'stdout' ? {} : { stderr: streams.stderr }) };
    const outputs = Object.entries(targets).map(([name, target]) =>
      pumpOutput({ socket: this.#port(name), token, target, onClosed: () => this.#order(`closed ${name}`) }),
    );
    if (!streams.stdin) return { outputs, letGo: () => undefined };
    const socket = this.#port('stdin');
    return { outputs, letGo: feedInput(streams.stdin, socket, { onEnd: () => socket.end() }) };
  }

  #port(name: string): NodeJS.ReadWriteStream {
    const { machine, qemu } = this.#running;
    return qemu.socket(firstPortDescriptor + machine.ports.indexOf(name));
  }

  #hear(report: Report): void {
    if (report.kind === 'started') {
      this.#bootSeconds = report.bootSeconds;
      this.#reportStart?.resolve(this.#start());
      return;
    }
    this.#report ??= report;
    this.#partWhenOver();
  }

  #start(): GuestStart {
    return { bootSeconds: this.#bootSeconds ?? 0, accelerator: this.#running.machine.accelerator };
  }

  /** Once everything has arrived and the disks are safe, lets the guest power off, and does not wait for ever. */
  #partWhenOver(): void {
    if (this.#isOver || !this.#report || (this.#report.kind === 'exit' && !this.#outputsWhole)) return;
    this.#isOver = true;
    this.#order('received');
    void this.#after(partingMs).then(() => this.#running.qemu.stop());
  }

  #fail(error: CodedError): void {
    if (this.#isOver || this.#failure) return;
    this.#failure = error;
    this.#running.qemu.stop();
  }

  /** A line for the guest's init, which reads it once it is up. */
  #order(line: string): void {
    const control = this.#port('control');
    if (control.writable) control.write(`${line}\n`);
  }

  /** Settles later, or never when everything is over before. */
  #after(milliseconds: number): Promise<void> {
    return new Promise((resolve) => this.#timers.push(setTimeout(resolve, milliseconds)));
  }

  #remains(): failures.Remains {
    const { program, qemu, machine } = this.#running;
    const kernel = this.#bootSeconds === undefined ? machine.vmlinuz : undefined;
    return { kernel, program, qemu, console: this.#console };
  }
}

/** A socket that breaks when QEMU goes is no news: how QEMU ended says it all. */
function listen(socket: NodeJS.ReadWriteStream, onData: (chunk: Buffer) => void): void {
  socket.on('data', onData);
  socket.on('error', () => undefined);
}
