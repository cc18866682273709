import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { execa } from 'execa';

import { listMounts } from '../../src/host/index.js';
import { SpfsProgram, spfsProgram, type Variables } from './spfs-program.js';
import { startWorld, type World } from './world.js';

export const spfsNeeds = [
  ...(['root', 'mkfs.erofs', 'containerd', 'registry'] as const),
  ...(['demo-packages', 'qemu', 'guest-kernel', 'virtiofsd'] as const),
];

const mostMs = 150_000;

/** A world with a storage root of spfs. */
export interface SpfsWorld extends World {
  /** Where `write` writes. */
  readonly files: string;
  /** What spfs must be given; TMPDIR is a folder of its own. */
  environment(more?: Variables): Variables;
  /** Writes a file below `files`. @returns its path. */
  write(path: string, content: string | Uint8Array): Promise<string>;
  /** Runs spfs; the exit code is the caller's to judge. */
  trySpfs(args: readonly string[], more?: Variables, input?: string): ReturnType<SpfsProgram['try']>;
  /** Standard output of an spfs that ends well. */
  spfs(...args: readonly string[]): Promise<string>;
  /** An spfs that runs, or another program in its environment. */
  follow(args: readonly string[], more?: Variables, program?: string): Followed;
  /** Standard output of ctr in the namespace of spfs. */
  ctrSpfs(...args: readonly string[]): Promise<string>;
  /** Ids of the leases that running commands hold. */
  runLeases(): Promise<readonly string[]>;
  /** Ids of the processes that spfs started beside itself: `qemu`, or `--socket-path` for virtiofsd. */
  helpers(which: string): Promise<readonly number[]>;
  /** What runs must not leave: processes, files, mounts, leases, views. */
  remains(): Promise<readonly string[]>;
}

export async function startSpfsWorld(): Promise<SpfsWorld> {
  const world = await startWorld();
  try {
    return await withSpfs(world);
  } catch (error) {
    await world.close();
    throw error;
  }
}

async function withSpfs(world: World): Promise<SpfsWorld> {
  const [files, temporary] = [join(world.folder, 'files'), join(world.folder, 'tmp')];
  await mkdir(temporary);
  const program = new SpfsProgram(world, { TMPDIR: temporary });
  const ctrSpfs = (...args: readonly string[]) => world.containerd.ctr(['-n', 'spfs', ...args]);
  const runLeases = async () =>
    (await ctrSpfs('leases', 'ls', '-q')).split('\n').filter((id) => /spfs-(run|work)/.test(id));
  const helpers = async (which: string) => (await processesWith(temporary, which)).map(({ pid }) => pid);
  return {
    ...world,
    files,
    environment: (more) => program.environment(more),
    write: async (path, content) => {
      const file = join(files, path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content);
      return file;
    },
    trySpfs: (args, env, input) =>
      program.try(args, { ...(env ? { env } : {}), ...(input === undefined ? {} : { input }) }),
    spfs: (...args) => program.run(...args),
    follow: (args, more, file = spfsProgram) => new Followed(file, args, program.environment(more)),
    ctrSpfs,
    runLeases,
    helpers,
    remains: async () => [
      ...(await processesWith(temporary)).map(({ line }) => line),
      ...(await readdir(temporary)),
      ...(await listMounts()).map(({ target }) => target).filter((target) => target.startsWith(temporary)),
      ...(await runLeases()),
      ...(await ctrSpfs('snapshots', '--snapshotter', 'spin-erofs', 'ls'))
        .split('\n')
        .filter((row) => /View|Active/.test(row)),
    ],
  };
}

/** Processes whose command line names a file of the folder, and has `which`. */
async function processesWith(folder: string, which = ''): Promise<{ pid: number; line: string }[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    ids.map(async (id) => ({
      pid: Number(id),
      line: (await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' '),
    })),
  );
  return lines.filter(({ line }) => line.includes(folder) && line.includes(which));
}

/** A program that is talked to while it runs. */
export class Followed {
  /** Both outputs, as they came. */
  output = '';
  readonly ended: Promise<{ readonly exitCode?: number; readonly signal?: string }>;
  readonly #child;
  #heard = 0;
  #hasEnded = false;
  #wake = () => {};

  constructor(program: string, args: readonly string[], env: Variables) {
    this.#child = execa(program, args, {
      env,
      all: true,
      buffer: false,
      reject: false,
      stdin: 'pipe',
      timeout: mostMs,
    });
    this.#child.all.on('data', (chunk: Buffer) => {
      this.output += chunk.toString();
      this.#wake();
    });
    this.ended = this.#child.finally(() => {
      this.#hasEnded = true;
      this.#wake();
    });
  }

  /** Waits for a match after the last one. @returns the match. */
  async hear(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.output.slice(this.#heard));
      if (found) {
        this.#heard += found.index + found[0].length;
        return found;
      }
      if (this.#hasEnded) throw new Error(`it ended without ${String(pattern)}: ${this.output}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  type(text: string): void {
    this.#child.stdin.write(text);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}
