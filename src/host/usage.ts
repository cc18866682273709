import type { BigIntStats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';

export interface DiskUsage {
  /** Blocks on disk, in bytes: holes cost nothing. */
  readonly bytes: number;
  readonly inodes: number;
}

/**
 * What a file or a tree occupies, its root included. Hard links count once, symbolic links are not followed, other
 * filesystems mounted below are left out, and entries that vanish meanwhile are no error. Zero for a path that does not exist.
 */
export async function diskUsage(path: string): Promise<DiskUsage> {
  const root = await statIfThere(path);
  if (root === undefined) return { bytes: 0, inodes: 0 };
  const tally = new Tally(root.dev);
  await tally.visit(path, root);
  return { bytes: Number(tally.blocks) * 512, inodes: tally.inodes };
}

class Tally {
  blocks = 0n;
  inodes = 0;
  readonly #device: bigint;
  readonly #linked = new Set<bigint>();

  constructor(device: bigint) {
    this.#device = device;
  }

  async visit(path: string, stat: BigIntStats): Promise<void> {
    if (stat.dev !== this.#device || this.#countedBefore(stat)) return;
    this.blocks += stat.blocks;
    this.inodes += 1;
    if (!stat.isDirectory()) return;
    for (const name of await namesIfThere(path)) {
      const child = join(path, name);
      const childStat = await statIfThere(child);
      if (childStat !== undefined) await this.visit(child, childStat);
    }
  }

  #countedBefore(stat: BigIntStats): boolean {
    if (stat.isDirectory() || stat.nlink === 1n) return false;
    if (this.#linked.has(stat.ino)) return true;
    this.#linked.add(stat.ino);
    return false;
  }
}

async function statIfThere(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function namesIfThere(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
