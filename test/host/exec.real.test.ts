import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { CodedError } from '../../src/errors.js';
import { killGraceMs, run } from '../../src/host/exec.js';
import { temporaryFolder } from './temporary.js';

const deadlineMs = 30_000;
const stubborn = fileURLToPath(new URL('fixtures/ignores-sigterm.sh', import.meta.url));

async function failureOf(work: Promise<unknown>): Promise<CodedError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CodedError);
  return error as CodedError;
}

/** Whether the process still runs: one that was killed and waits for init to collect it does not. */
async function runs(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return status !== '' && !/\) [ZX] /.test(status);
}

describe('a tool that ends well', () => {
  test('answers what it printed, and gets its arguments as they are, without a shell', async () => {
    const { stdout, stderr } = await run('sh', ['-c', 'printf %s "$1"; echo note >&2', 'sh', '$(id) * "'], {
      deadlineMs,
    });
    expect(stdout).toBe('$(id) * "');
    expect(stderr).toBe('note\n');
  });

  test('reads the given input, though it may stop reading early', async () => {
    expect((await run('cat', [], { deadlineMs, input: 'text' })).stdout).toBe('text');
    expect((await run('head', ['-c', '2'], { deadlineMs, input: Buffer.alloc(1 << 20, 'x') })).stdout).toBe('xx');
  });

  test('has an empty input when none is given', async () => {
    expect((await run('cat', [], { deadlineMs })).stdout).toBe('');
  });

  test('reads and writes open files by their descriptors', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'in'), 'through');
    const input = await open(join(folder, 'in'), 'r');
    const output = await open(join(folder, 'out'), 'w');
    expect((await run('cat', [], { deadlineMs, stdin: input.fd, stdout: output.fd })).stdout).toBe('');
    await input.close();
    await output.close();
    expect(await readFile(join(folder, 'out'), 'utf8')).toBe('through');
  });

  test('is fed piece by piece', async () => {
    const buffer = Buffer.alloc(3);
    const { stdout } = await run('cat', [], {
      deadlineMs,
      feed: async (write) => {
        for (const piece of ['one', 'two', 'six']) {
          buffer.write(piece);
          await write(buffer);
        }
      },
    });
    expect(stdout).toBe('onetwosix');
  });

  test('ends with the reason for which its input ended early', async () => {
    const reason = new CodedError('unavailable', 'nothing more comes');
    await expect(run('cat', [], { deadlineMs, feed: () => Promise.reject(reason) })).rejects.toBe(reason);
  });

  test('is not fed any longer when it ends early, and says itself how it ended', async () => {
    let stopped = false;
    const fed = run('sh', ['-c', 'exit 3'], {
      deadlineMs,
      feed: (_write, gone) =>
        new Promise((_resolve, reject) => {
          gone.addEventListener('abort', () => {
            stopped = true;
            reject(new Error('the reader is gone'));
          });
        }),
    });
    await expect(fed).rejects.toMatchObject({ code: 'internal', facts: { exitCode: 3 } });
    expect(stopped).toBe(true);
  });

  test('is cut to the last 64 KiB of what it printed', async () => {
    const { stdout } = await run('sh', ['-c', 'head -c 1000000 /dev/zero | tr "\\0" x; printf end'], { deadlineMs });
    expect(stdout).toHaveLength(64 * 1024);
    expect(stdout.endsWith('xend')).toBe(true);
  });

  test('runs in the given folder, with the given variables added, others removed, and messages untranslated', async () => {
    const { stdout } = await run('sh', ['-c', 'echo "$PWD $MINE $LC_ALL ${PATH:+path} ${HOME-no home}"'], {
      deadlineMs,
      cwd: '/usr',
      env: { MINE: 'yes', HOME: undefined },
    });
    expect(stdout).toBe('/usr yes C path no home\n');
  });
});

describe('a tool that fails', () => {
  test('gives its exit code, arguments and what it said', async () => {
    const error = await failureOf(run('sh', ['-c', 'echo because >&2; exit 3'], { deadlineMs, what: 'trying' }));
    expect(error.code).toBe('internal');
    expect(error.message).toBe('sh failed with exit code 3 while trying: because');
    expect(error.facts).toMatchObject({ tool: 'sh', exitCode: 3, stderr: 'because\n' });
  });

  test('that crashes names the signal', async () => {
    const error = await failureOf(run('sh', ['-c', 'kill -SEGV $$'], { deadlineMs }));
    expect(error).toMatchObject({ code: 'internal', message: 'sh was killed by SIGSEGV' });
  });

  test('for want of disk space is resource-exhausted', async () => {
    const error = await failureOf(run('sh', ['-c', 'cat /proc/self/status > /dev/full'], { deadlineMs }));
    expect(error.code).toBe('resource-exhausted');
    expect(error.next).toBe('free disk space and try again');
  });

  test('because it is not installed is unavailable and says what to install', async () => {
    const error = await failureOf(run('no-such-tool', [], { deadlineMs, what: 'trying' }));
    expect(error.code).toBe('unavailable');
    expect(error.advice).toBe('no-such-tool is not on PATH, or cannot be executed while trying; install no-such-tool');
  });

  test('because its folder does not exist is not taken for a missing tool', async () => {
    expect((await failureOf(run('true', [], { deadlineMs, cwd: '/no/such/folder' }))).code).toBe('internal');
  });
});

describe('a tool that is stopped', () => {
  test('by its deadline says so, and soon', async () => {
    const started = performance.now();
    const error = await failureOf(run('sleep', ['60'], { deadlineMs: 100, what: 'waiting' }));
    expect(error.code).toBe('deadline-exceeded');
    expect(error.message).toBe('sleep did not end within 0.1 s while waiting, and was killed');
    expect(performance.now() - started).toBeLessThan(killGraceMs);
  });

  test('by a signal is cancelled', async () => {
    const abort = new AbortController();
    const running = failureOf(run('sleep', ['60'], { deadlineMs, signal: abort.signal }));
    abort.abort();
    expect((await running).code).toBe('cancelled');
  });

  test('by a signal with a reason of ours ends with that reason', async () => {
    const reason = new CodedError('deadline-exceeded', 'the call is over');
    expect(await failureOf(run('sleep', ['60'], { deadlineMs, signal: AbortSignal.abort(reason) }))).toBe(reason);
  });

  test('before it started never starts', async () => {
    const file = join(await temporaryFolder(), 'made');
    expect((await failureOf(run('touch', [file], { deadlineMs, signal: AbortSignal.abort() }))).code).toBe('cancelled');
    await expect(readFile(file)).rejects.toThrow('ENOENT');
  });

  test('keeps its first cause when a second follows', async () => {
    const abort = new AbortController();
    const running = failureOf(run('sh', ['-c', 'trap "" TERM; sleep 3'], { deadlineMs: 500, signal: abort.signal }));
    setTimeout(() => abort.abort(), 100);
    expect((await running).code).toBe('cancelled');
  });

  test('takes along a child of its wrapper that ignores SIGTERM', async () => {
    const file = join(await temporaryFolder(), 'pid');
    const error = await failureOf(run(stubborn, [file], { deadlineMs: 500 }));
    expect(error.code).toBe('deadline-exceeded');
    const pid = Number(await readFile(file, 'utf8'));
    expect(pid).toBeGreaterThan(1);
    await expect.poll(() => runs(pid), { timeout: 200 }).toBe(false);
  });

  test('does not wait for a descendant that left the group and holds the pipes', async () => {
    const file = join(await temporaryFolder(), 'pid');
    const started = performance.now();
    const script = 'setsid sleep 20 & echo $! > "$1"; sleep 20';
    await failureOf(run('sh', ['-c', script, 'sh', file], { deadlineMs: 200 }));
    expect(performance.now() - started).toBeLessThan(killGraceMs + 5_000);
    process.kill(Number(await readFile(file, 'utf8')), 'SIGKILL');
  });

  test('by the end of the daemon itself leaves nothing running', async () => {
    const file = join(await temporaryFolder(), 'pid');
    const host = new URL('../../src/host/index.ts', import.meta.url).href;
    const script = `
      import { run } from ${JSON.stringify(host)};
      void run('sh', ['-c', 'echo $$ > "$1"; echo started; exec sleep 60', 'sh', ${JSON.stringify(file)}], { deadlineMs: 60000 });
      process.stdin.once('data', () => process.exit(3));
      process.stdin.resume();
    `;
    const daemon = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    let pid = 0;
    await expect
      .poll(async () => (pid = Number(await readFile(file, 'utf8').catch(() => ''))), { timeout: 10_000 })
      .toBeGreaterThan(1);
    const exited = once(daemon, 'exit');
    daemon.stdin.end('stop');
    expect((await exited)[0]).toBe(3);
    await expect.poll(() => runs(pid)).toBe(false);
  });
});
