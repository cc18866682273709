import { mkdir, mkdtemp, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/host/index.js';

const deadlineMs = 60_000;

/** One way in which a guest can write its disk. Nothing here is ever mounted to make it. */
export interface HostileImage {
  readonly what: string;
  readonly make: (image: string) => Promise<unknown>;
  readonly refused: 'data-loss' | 'failed-precondition';
}

/** Changes an image by debugfs, which writes checksums anew. */
export function debugfs(image: string, ...commands: readonly string[]): Promise<unknown> {
  return run('debugfs', ['-w', image], { deadlineMs, input: `${commands.join('\n')}\n` });
}

/** A sound ext4 of 64 MiB at `image` that holds what is in `upper/`, and `work/`. Errors only continue, whatever happens. */
export async function soundImage(image: string, fill: (upper: string) => Promise<unknown> = plainUpper): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-image-'));
  try {
    await mkdir(join(folder, 'upper'));
    await mkdir(join(folder, 'work'));
    await fill(join(folder, 'upper'));
    await writeFile(image, '');
    await truncate(image, 64 * 1024 * 1024);
    const args = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-e', 'continue', '-O', '^orphan_file', '-d', folder, image];
    await run('mkfs.ext4', args, { deadlineMs });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A few of each kind, so that there is metadata to damage. */
async function plainUpper(upper: string): Promise<void> {
  for (let folder = 0; folder < 8; folder += 1) {
    await mkdir(join(upper, `folder-${folder}`));
    for (let file = 0; file < 20; file += 1) {
      await writeFile(join(upper, `folder-${folder}`, `file-${file}`), `${folder}/${file}\n`.repeat(100 * file));
    }
    await symlink(`folder-${(folder + 1) % 8}`, join(upper, `link-${folder}`));
  }
}

/** Overwrites bytes of the image itself. */
async function patch(image: string, at: number, bytes: Uint8Array): Promise<void> {
  const file = await open(image, 'r+');
  try {
    await file.write(bytes, 0, bytes.length, at);
  } finally {
    await file.close();
  }
}

export const hostileImages: readonly HostileImage[] = [
  {
    what: 'cut off in the middle',
    make: (image) => truncate(image, 32 * 1024 * 1024),
    refused: 'data-loss',
  },
  { what: 'cut off in its superblock', make: (image) => truncate(image, 1500), refused: 'data-loss' },
  { what: 'no ext4 at all', make: (image) => patch(image, 0, Buffer.alloc(65_536, 0x5a)), refused: 'data-loss' },
  {
    what: 'of more blocks than the file has',
    make: (image) => debugfs(image, 'set_super_value blocks_count 4294967295'),
    refused: 'data-loss',
  },
  {
    what: 'of absurdly many inodes',
    make: (image) => debugfs(image, 'set_super_value inodes_count 4294967295'),
    refused: 'data-loss',
  },
  {
    what: 'of absurdly large blocks',
    make: (image) => debugfs(image, 'set_super_value log_block_size 31'),
    refused: 'data-loss',
  },
  {
    what: 'with a folder that contains itself',
    make: (image) => debugfs(image, 'link /upper /upper/folder-1/loop'),
    refused: 'data-loss',
  },
  {
    what: 'with an inode whose blocks lie outside',
    make: (image) => debugfs(image, 'set_inode_field /upper/folder-1 block[5] 0x7fffffff'),
    refused: 'data-loss',
  },
  {
    what: 'with a folder of a size that no disk has',
    make: (image) => debugfs(image, 'set_inode_field /upper/folder-2 size 0x7fffffffffff000'),
    refused: 'data-loss',
  },
  {
    what: 'with garbage for an inode table',
    make: async (image) => {
      const { stdout } = await run('dumpe2fs', [image], { deadlineMs });
      const at = Number(/Inode table at (\d+)/.exec(stdout)?.[1]);
      await patch(image, (at + 1) * 4096, Buffer.alloc(4096, 0xa5));
    },
    refused: 'data-loss',
  },
  {
    what: 'with its journal on another device',
    make: (image) => debugfs(image, 'set_super_value journal_dev 0x801'),
    refused: 'failed-precondition',
  },
  {
    what: 'without the journal that it says it has',
    make: (image) => debugfs(image, 'set_super_value journal_inum 0'),
    refused: 'failed-precondition',
  },
  {
    what: 'with mount options of its own',
    make: (image) => run('tune2fs', ['-E', 'mount_opts=debug', image], { deadlineMs }),
    refused: 'failed-precondition',
  },
];
