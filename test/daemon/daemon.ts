import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { packageRoot } from '../../src/package.js';
import { fromSource } from '../harness/from-source.js';

const main = join(packageRoot(), 'cmd', 'erofs-snapshotter', 'main.ts');

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The daemon as a process of its own, whose configuration is what is given here alone. */
export class Daemon {
  readonly ended: Promise<Ended>;
  readonly #child;
  #stderr = '';

  /** @param stderr a descriptor of the test's that the daemon writes instead of a pipe */
  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}, stderr?: number) {
    this.#child = spawn(process.execPath, [...fromSource, main, ...args], {
      cwd: packageRoot(),
      env: { PATH: process.env['PATH'], ...environment },
      stdio: ['ignore', 'pipe', stderr ?? 'pipe'],
    });
    let stdout = '';
    this.#child.stdout?.on('data', (text: Buffer) => (stdout += text.toString()));
    this.#child.stderr?.on('data', (text: Buffer) => (this.#stderr += text.toString()));
    this.ended = once(this.#child, 'close').then(([code]) => {
      return { code: code as number | null, stdout, stderr: this.#stderr };
    });
    onTestFinished(async () => {
      this.#child.kill('SIGKILL');
      await this.ended;
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its log has no reader from now on. */
  leaveLog(): void {
    this.#child.stderr?.destroy();
  }

  /** Resolves when the daemon has logged `message`. */
  async logged(message: string): Promise<void> {
    const log = this.#child.stderr;
    if (log === null) throw new Error('the log of this daemon goes elsewhere');
    while (!this.#stderr.includes(`"msg":"${message}"`)) {
      const more = once(log, 'data').then(() => true);
      if (!(await Promise.race([more, this.ended.then(() => false)]))) {
        throw new Error(`the daemon ended before it logged ${message}: ${this.#stderr}`);
      }
    }
  }
}
