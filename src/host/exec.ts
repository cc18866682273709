import { existsSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { execa, type Options } from 'execa';
import { CodedError, type ErrorDetails } from '../errors.js';
import { killGroup } from './processes.js';
import { isOutOfSpace } from './space.js';
import { Tail } from './tail.js';

export interface RunOptions {
  /** Milliseconds the tool may take, all its descendants included. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  readonly cwd?: string;
  /** Added to the daemon's own environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string | Uint8Array;
  /** An open file descriptor that the tool reads; neither it nor `input` given, its input is empty. */
  readonly stdin?: number;
  /** Writes the tool's input piece by piece, each of which is free again when its write has resolved. `gone` aborts when the tool ends. */
  readonly feed?: (write: (part: Uint8Array) => Promise<void>, gone: AbortSignal) => Promise<void>;
  /** An open file descriptor that the tool writes; `RunResult.stdout` is then empty. */
  readonly stdout?: number;
  /** Called when the tool has been started, and has the descriptors that it was given; without a pid when it could not be. */
  readonly onStart?: (pid: number | undefined) => void;
  /**
   * The mount namespace that the tool runs in, as `/proc/<pid>/fd/<n>`. Such a tool is killed with this process, since what it
   * reads is mounted for as long as it lives.
   */
  readonly mountNamespace?: string;
  /** Exit codes besides 0 that are answers and no failures. */
  readonly answers?: readonly number[];
  /** What the tool is run for, for messages: `converting layer sha256:…`. */
  readonly what?: string;
}

/** The ends of what a tool printed: 64 KiB at most each. */
export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Milliseconds between SIGTERM and SIGKILL. */
export const killGraceMs = 2_000;
/** Milliseconds after SIGKILL for processes that still hold the tool's pipes. They are not waited for longer. */
const abandonMs = 1_000;

/**
 * Runs one tool to its end: the one door to processes. No shell; a deadline always; its whole process group is killed on the
 * deadline or on `signal`, since a tool may be a wrapper script whose child does the work.
 *
 * @throws CodedError `unavailable` the tool is not installed; `deadline-exceeded`; `cancelled` by `signal` (or the
 *   signal's own reason when that is a CodedError); `resource-exhausted` it ran out of disk space; `internal` any other
 *   failure. What ended the tool first decides.
 */
export async function run(tool: string, args: readonly string[], o: RunOptions): Promise<RunResult> {
  if (o.signal?.aborted) throw cancelled(tool, o);
  const child = execa(...commandLine(tool, args, o), childOptions(o));
  o.onStart?.(child.pid);
  const group = new ProcessGroup(child.pid);
  const stdout = Tail.of(child.stdout);
  const stderr = Tail.of(child.stderr);

  let ending: CodedError | undefined;
  let waiting: NodeJS.Timeout | undefined;
  const end = (cause: CodedError) => {
    if (ending) return;
    ending = cause;
    group.kill('SIGTERM');
    waiting = setTimeout(() => {
      group.kill('SIGKILL');
      // The pipes close when the last of the group is gone; but a descendant that left the group may hold them for ever.
      waiting = setTimeout(() => {
        child.stdout?.destroy();
        child.stderr.destroy();
      }, abandonMs);
    }, killGraceMs);
  };
  const deadline = setTimeout(() => end(overdue(tool, o)), o.deadlineMs);
  const aborted = () => end(cancelled(tool, o));
  o.signal?.addEventListener('abort', aborted, { once: true });
  const feeding = o.feed && feedThrough(child.stdin, o.feed, (error) => end(inputFailed(tool, o, error)));

  try {
    const result = await child;
    await feeding?.stop();
    if (ending) throw ending;
    const { exitCode = 0 } = result;
    if (!result.failed || (result.exitCode !== undefined && o.answers?.includes(exitCode))) {
      return { stdout: stdout.text(), stderr: stderr.text(), exitCode };
    }
    throw failure(tool, args, o, failedAs(result, stderr.text()));
  } catch (error) {
    group.kill('SIGKILL'); // processes of the group that outlived its first one
    throw error;
  } finally {
    await feeding?.stop();
    group.forget();
    clearTimeout(deadline);
    clearTimeout(waiting);
    o.signal?.removeEventListener('abort', aborted);
  }
}

/** Both wrappers become the tool itself (exec), so that its process group, its exit status and its streams are the tool's. */
function commandLine(tool: string, args: readonly string[], o: RunOptions): [string, readonly string[]] {
  if (o.mountNamespace === undefined) return [tool, args];
  const entering = [`--mount=${o.mountNamespace}`, '--', 'setpriv', '--pdeathsig', 'KILL', '--'];
  return ['nsenter', [...entering, tool, ...args]];
}

function childOptions(o: RunOptions) {
  return {
    cwd: o.cwd,
    // Messages are read for causes such as a full disk, so they must not be translated.
    env: { LC_ALL: 'C', ...o.env },
    ...(o.input === undefined ? { stdin: inputOf(o) } : { input: o.input }),
    stdout: o.stdout === undefined ? 'pipe' : descriptor(o.stdout),
    stderr: 'pipe',
    // A process group of its own, so that one kill reaches grandchildren too.
    detached: true,
    buffer: false,
    reject: false,
  } satisfies Options;
}

function inputOf({ stdin, feed }: RunOptions) {
  if (feed) return 'pipe';
  return stdin === undefined ? 'ignore' : descriptor(stdin);
}

/** Runs `feed` beside the tool. A reader that is gone is no failure of its own: the tool's end says why. */
function feedThrough(input: Writable | null, feed: NonNullable<RunOptions['feed']>, failed: (error: unknown) => void) {
  const gone = new AbortController();
  let unread = false;
  input?.on('error', () => (unread = true));
  const write = (part: Uint8Array) =>
    new Promise<void>((resolve, reject) => {
      input?.write(part, (error) => {
        if (error) unread = true;
        if (error) reject(error);
        else resolve();
      });
    });
  const fed = feed(write, gone.signal).then(
    () => input?.end(),
    (error: unknown) => {
      if (!unread && !gone.signal.aborted) failed(error);
    },
  );
  return {
    stop: async () => {
      gone.abort();
      await fed;
    },
  };
}

/** execa's types name descriptors up to 9; it hands on any. */
function descriptor(fd: number): 9 {
  return fd as 9;
}

/** Exit status of nsenter and setpriv when there is no such program. */
const notFoundByWrapper = 127;
const missingTool: FailedRun = { code: 'ENOENT', stderr: '' };

/** Groups that run now. The process that ends at once (a second signal, a fatal error) must take them along. */
const running = new Set<ProcessGroup>();

class ProcessGroup {
  readonly #id: number | undefined;

  constructor(id: number | undefined) {
    this.#id = id;
    if (id === undefined) return;
    if (running.size === 0) process.on('exit', killRunning);
    running.add(this);
  }

  kill(signal: NodeJS.Signals): void {
    if (this.#id !== undefined) killGroup(this.#id, signal);
  }

  forget(): void {
    running.delete(this);
    if (running.size === 0) process.off('exit', killRunning);
  }
}

function killRunning(): void {
  for (const group of running) group.kill('SIGKILL');
}

interface FailedRun {
  readonly code?: string;
  readonly exitCode?: number;
  readonly signal?: string;
  readonly stderr: string;
  readonly cause?: unknown;
}

function failedAs({ code, exitCode, signal, cause }: Omit<FailedRun, 'stderr'>, stderr: string): FailedRun {
  return { code, exitCode, signal, cause, stderr };
}

function failure(tool: string, args: readonly string[], o: RunOptions, failed: FailedRun): CodedError {
  const { code, exitCode, signal, stderr } = failed;
  const facts: ErrorDetails['facts'] = {
    tool,
    args,
    exitCode,
    signal,
    stderr: stderr === '' ? undefined : stderr,
  };
  if (exitCode === undefined && signal === undefined) return notStarted(tool, o, facts, failed);
  if (o.mountNamespace !== undefined && exitCode === notFoundByWrapper) return notStarted(tool, o, facts, missingTool);
  const how = exitCode === undefined ? `was killed by ${signal}` : `failed with exit code ${exitCode}`;
  const said = lastLine(stderr);
  const message = `${tool} ${how}${purpose(o)}${said === '' ? '' : `: ${said}`}`;
  if (isOutOfSpace(code) || /No space left on device|Disk quota exceeded/.test(stderr)) {
    return new CodedError('resource-exhausted', message, { facts, next: 'free disk space and try again' });
  }
  return new CodedError('internal', message, { facts });
}

function notStarted(tool: string, o: RunOptions, facts: ErrorDetails['facts'], failed: FailedRun): CodedError {
  // A missing working folder is ENOENT as well.
  const missing = failed.code === 'ENOENT' && (o.cwd === undefined || existsSync(o.cwd));
  if (missing || failed.code === 'EACCES') {
    const message = `${tool} is not on PATH, or cannot be executed${purpose(o)}`;
    return new CodedError('unavailable', message, { facts, next: `install ${tool}`, cause: failed.cause });
  }
  const message = `${tool} could not be started${purpose(o)} (${failed.code ?? 'unknown cause'})`;
  return new CodedError('internal', message, { facts, cause: failed.cause });
}

function overdue(tool: string, o: RunOptions): CodedError {
  const message = `${tool} did not end within ${o.deadlineMs / 1000} s${purpose(o)}, and was killed`;
  return new CodedError('deadline-exceeded', message, { facts: { tool, deadlineMs: o.deadlineMs } });
}

function inputFailed(tool: string, o: RunOptions, cause: unknown): CodedError {
  if (cause instanceof CodedError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new CodedError('internal', `the input of ${tool} ended early${purpose(o)}: ${why}`, {
    facts: { tool },
    cause,
  });
}

function cancelled(tool: string, o: RunOptions): CodedError {
  const reason: unknown = o.signal?.reason;
  if (reason instanceof CodedError) return reason;
  return new CodedError('cancelled', `${tool} was cancelled${purpose(o)}`, { facts: { tool }, cause: reason });
}

function purpose(o: RunOptions): string {
  return o.what === undefined ? '' : ` while ${o.what}`;
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1)?.slice(0, 500) ?? '';
}
