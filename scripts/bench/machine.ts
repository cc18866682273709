import { cpus, loadavg, release, totalmem } from 'node:os';

import { listMounts } from '../../src/host/index.js';
import { packageRoot, packageVersion } from '../../src/package.js';
import { tool } from '../rig/process.js';
import { mayDropCaches } from './caches.js';

/** What the numbers depend on besides the code. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Bytes. */
  readonly memory: number;
  readonly kernel: string;
  /** Of the folder in which everything happened. */
  readonly filesystem: string;
  /** False where the kernel does not let the page cache be emptied before each pull. */
  readonly cachesDropped: boolean;
  /** Of the last minute before the run: more than a few tenths means that others disturbed it. */
  readonly loadBefore: number;
}

export type Versions = Readonly<Record<string, string>>;

export async function describeMachine(folder: string, loadBefore: number): Promise<Machine> {
  const holding = (await listMounts()).filter(
    ({ target }) => folder === target || folder.startsWith(target === '/' ? '/' : `${target}/`),
  );
  const filesystem = holding.sort((a, b) => b.target.length - a.target.length)[0]?.type ?? 'unknown';
  const all = cpus();
  return {
    cpu: all[0]?.model ?? 'unknown',
    cores: all.length,
    memory: totalmem(),
    kernel: release(),
    filesystem,
    cachesDropped: await mayDropCaches(),
    loadBefore,
  };
}

export function currentLoad(): number {
  return loadavg()[0] ?? 0;
}

export async function describeVersions(): Promise<Versions> {
  return {
    'erofs-snapshotter': packageVersion(),
    commit: await commit(),
    node: process.versions.node,
    'erofs-utils': await versionOf('mkfs.erofs', '--version'),
    containerd: await versionOf('containerd', '--version'),
    igzip: await versionOf('igzip', '--version'),
    pigz: await versionOf('pigz', '--version'),
  };
}

/** The commit, marked when files that git knows differ from it. */
async function commit(): Promise<string> {
  const git = async (...args: string[]) => (await tool('git', ['-C', packageRoot(), ...args])).stdout.trim();
  try {
    const dirty = await git(
      'status',
      '--porcelain',
      '--untracked-files=no',
      '--',
      'src',
      'cmd',
      'proto',
      'package-lock.json',
    );
    return `${await git('rev-parse', '--short=12', 'HEAD')}${dirty === '' ? '' : ' with changes'}`;
  } catch {
    return 'unknown (no git)';
  }
}

async function versionOf(program: string, argument: string): Promise<string> {
  try {
    const { stdout, stderr } = await tool(program, [argument]);
    return /\d+(\.\d+)+/.exec(`${stdout}${stderr}`)?.[0] ?? 'of unknown version';
  } catch {
    return 'not installed';
  }
}
