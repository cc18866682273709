import { mkdir, mkdtemp, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished, vi } from 'vitest';
import { run } from '../../src/host/index.js';

const deadlineMs = 60_000;
const block = 4096;

/** A filesystem of its own, small enough to be filled to the last block or inode. */
export class SmallDisk {
  readonly path: string;
  readonly #ballast: string;

  private constructor(path: string) {
    this.path = path;
    this.#ballast = join(path, 'ballast');
  }

  /** It goes away with the test; what was opened on it must be closed before (`onTestFinished` runs the latest first). */
  static async make(kind: 'tmpfs' | 'ext4', megabytes = 48): Promise<SmallDisk> {
    const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    const path = join(folder, 'disk');
    await mkdir(path);
    if (kind === 'tmpfs') {
      const options = `size=${megabytes}m,nr_inodes=4000`;
      await run('mount', ['-t', 'tmpfs', '-o', options, 'erofs-snapshotter-test', path], { deadlineMs });
    } else {
      const image = join(folder, 'image');
      await writeFile(image, '');
      await truncate(image, megabytes * 1024 * 1024);
      await run('mkfs.ext4', ['-q', '-F', '-m', '0', '-N', '4000', image], { deadlineMs });
      await run('mount', ['-o', 'loop', image, path], { deadlineMs });
    }
    onTestFinished(async () => {
      // The kernel lets go of a loop device a moment after its last mount.
      await vi.waitFor(() => run('umount', [path], { deadlineMs }), 20_000);
      await rm(folder, { recursive: true });
    });
    const disk = new SmallDisk(path);
    await mkdir(disk.#ballast);
    return disk;
  }

  /** Leaves that many blocks of 4 KiB, or inodes. */
  async leave(what: 'blocks' | 'inodes', count: number): Promise<void> {
    if (what === 'inodes') {
      const { ffree } = await statfs(this.path);
      for (let at = 0; at < ffree - count; at += 1) await writeFile(join(this.#ballast, `inode-${at}`), '');
      return;
    }
    const file = join(this.#ballast, 'blocks');
    await run('dd', ['if=/dev/zero', `of=${file}`, 'bs=4096', 'status=none'], { deadlineMs }).catch(() => undefined);
    await run('sync', ['-f', file], { deadlineMs });
    const { bavail, bsize } = await statfs(this.path);
    const { size } = await stat(file);
    await truncate(file, Math.max(0, size - Math.max(0, count * block - bavail * bsize)));
  }

  async free(): Promise<void> {
    await rm(this.#ballast, { recursive: true });
    await mkdir(this.#ballast);
  }
}
