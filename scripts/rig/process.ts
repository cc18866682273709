import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { execa } from 'execa';

/** A failure that a person reads: what is wrong, and what to do. */
export class RigError extends Error {
  readonly next: string;

  constructor(message: string, next: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RigError';
    this.next = next;
  }
}

export class MissingProgram extends RigError {
  constructor(program: string) {
    super(`${program} is not on PATH`, `run scripts/setup, or install ${program}`);
  }
}

export interface ToolResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ToolOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** Runs a program to its end; the exit status is the caller's to judge. */
export async function tool(program: string, args: readonly string[], options: ToolOptions = {}): Promise<ToolResult> {
  const result = await execa(program, args, {
    reject: false,
    env: { ...options.env },
    cancelSignal: options.signal,
    timeout: options.timeoutMs ?? 240_000,
    stripFinalNewline: false,
  });
  options.signal?.throwIfAborted();
  if (result.code === 'ENOENT') throw new MissingProgram(program);
  return { exitCode: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
}

export interface ServiceOptions {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What must accept a connection before the service counts as started. */
  readonly listensOn: { readonly path: string } | { readonly port: number };
  readonly startMs?: number;
}

interface Running {
  readonly pid: number | undefined;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when the process is gone; never rejects. */
  readonly ended: Promise<{ readonly exitCode?: number; readonly code?: string }>;
}

const logLimit = 4 * 1024 * 1024;

/** A program that runs until it is stopped. It dies with this process, too. */
export class Service {
  readonly #options: ServiceOptions;
  #running: Running | undefined;
  #log = '';

  constructor(options: ServiceOptions) {
    this.#options = options;
  }

  /** Starts the program and waits until it listens. @throws RigError with the end of its log. */
  async start(): Promise<void> {
    const { program, args, env, startMs = 30_000 } = this.#options;
    const child = execa(program, args, {
      env: { ...env },
      stdin: 'ignore',
      all: true,
      buffer: false,
      reject: false,
      forceKillAfterDelay: 10_000,
    });
    this.#running = { pid: child.pid, kill: (signal) => void child.kill(signal), ended: child };
    child.all.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk.toString()).slice(-logLimit);
    });
    const end: { code?: string; exited?: true } = {};
    void child.then(({ code }) => Object.assign(end, { code, exited: true }));
    const deadline = Date.now() + startMs;
    while (!(await this.#listens())) {
      if (!end.exited && Date.now() < deadline) {
        await sleep(20);
        continue;
      }
      await this.kill();
      if (end.code === 'ENOENT') throw new MissingProgram(program);
      const why = end.exited ? 'ended at once' : `did not listen within ${startMs} ms`;
      throw new RigError(`${program} ${why}: ${lastLines(this.#log)}`, `see what ${program} said above`);
    }
  }

  /** What it wrote so far, standard output and standard error. */
  get log(): string {
    return this.#log;
  }

  get pid(): number | undefined {
    return this.#running?.pid;
  }

  /** SIGTERM, and the exit status; SIGKILL when that takes more than ten seconds. */
  stop(): Promise<number | undefined> {
    return this.#end('SIGTERM');
  }

  kill(): Promise<number | undefined> {
    return this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<number | undefined> {
    const running = this.#running;
    this.#running = undefined;
    running?.kill(signal);
    return (await running?.ended)?.exitCode;
  }

  #listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const { listensOn } = this.#options;
      const socket = createConnection('port' in listensOn ? { ...listensOn, host: '127.0.0.1' } : listensOn);
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
  }
}

export function lastLines(text: string, count = 15): string {
  return text.trim().split('\n').slice(-count).join('\n');
}
