import { copyFile, link, mkdir, mkdtemp, open, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isCode } from '../../src/errors.js';
import { extractFolder } from '../../src/ext4/index.js';
import { run } from '../../src/host/index.js';
import * as change from '../conformance/changes.js';
import { inOrder } from '../conformance/chains.js';
import { snapshotOf } from '../conformance/tree.js';
import { requires } from '../harness/requires.js';
import { randomOf, times } from '../harness/share.js';
import { hostileImages, soundImage } from './hostile-images.js';

const deadlineMs = 60_000;

/** What a guest may have in its upper. */
const everything = inOrder(
  change.folder('folder', 0o2750),
  change.owner('folder', 70_000, 80_000),
  change.file('folder/file', 'content', 0o4711),
  change.file('empty', ''),
  change.sparseFile('sparse', 300_000_000),
  (root) => writeFile(join(root, 'fragments'), Buffer.alloc(3_000_000, 'fragment')),
  change.hardLink('folder/file', 'linked'),
  change.symbolicLink('folder', 'short'),
  change.symbolicLink('t'.repeat(300), 'long'),
  change.fifo('fifo'),
  change.socket('socket'),
  change.device('whiteout', 'c', 0, 0),
  change.device('character', 'c', 1, 3),
  change.device('block', 'b', 259, 70_000),
  change.time('folder/file', -1_000_000),
  change.time('fifo', 5_000_000_000),
  change.xattr('folder', 'trusted.overlay.opaque', 'y'),
  change.xattr('folder/file', 'user.large', 'x'.repeat(3000)),
  change.xattr('empty', 'user.small', ''),
  change.xattr('empty', 'security.capability', change.netRawCapability),
  change.xattr('short', 'trusted.of-a-link', 'yes'),
  change.xattr(
    'folder',
    'system.posix_acl_default',
    Buffer.from('0200000001000700ffffffff02000500e80300000400050' + '0ffffffff10000700ffffffff20000500ffffffff', 'hex'),
  ),
  async (root) => {
    await mkdir(join(root, 'many'));
    for (let file = 0; file < 3000; file += 1)
      await symlink('x', join(root, 'many', `a-rather-long-name-of-a-file-${file}`));
  },
  (root) => link(join(root, 'empty'), join(root, 'folder', 'empty')),
);

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.ext4',
)('the folder of an ext4 that is read without a mount', () => {
  let folder: string;
  let image: string;
  let target: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-extract-'));
    image = join(folder, 'rwlayer.img');
    target = join(folder, 'copy');
    await soundImage(image);
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is what the kernel shows', async () => {
    const mounted = join(folder, 'mounted');
    await mkdir(mounted);
    await run('mount', ['-o', 'loop,errors=continue', image, mounted], { deadlineMs });
    let shown;
    try {
      await everything(join(mounted, 'upper'));
      await run('sync', ['--file-system', mounted], { deadlineMs });
      shown = await snapshotOf(join(mounted, 'upper'));
    } finally {
      await run('umount', [mounted], { deadlineMs });
    }
    expect(await extractFolder({ image, name: 'upper', target })).toBe(true);
    expect(await snapshotOf(target)).toEqual(shown);
    const held = await run('du', ['--block-size=1', '--summarize', join(target, 'sparse')], { deadlineMs });
    expect(Number.parseInt(held.stdout)).toBeLessThan(100_000);
  });

  it('is not there when a link, a file or nothing has its name', async () => {
    for (const name of ['nothing', 'upper/folder-1']) {
      expect(await extractFolder({ image, name, target })).toBe(false);
    }
  });

  it.each(hostileImages)('one $what ends, well or refused, without a crash', async ({ make }) => {
    await make(image);
    await extractFolder({ image, name: 'upper', target }).catch((error: unknown) => {
      if (!isCode(error, 'data-loss') && !isCode(error, 'failed-precondition')) throw error;
    });
  });

  it('whatever random bytes its metadata have, it ends, well or refused', async () => {
    const random = randomOf();
    const sound = join(folder, 'sound.img');
    await copyFile(image, sound);
    const metadata = (await readFile(sound)).subarray(0, 8 * 1024 * 1024);
    const used = Array.from({ length: metadata.length / 4096 }, (_, block) => block).filter(
      (block) => block > 0 && !metadata.subarray(block * 4096, (block + 1) * 4096).equals(Buffer.alloc(4096)),
    );
    for (let round = 0; round < times(40, 1000); round += 1) {
      await copyFile(sound, image);
      const file = await open(image, 'r+');
      for (let flip = 0; flip < 20; flip += 1) {
        const at = random.pick(used) * 4096 + random.int(0, 4095);
        await file.write(Buffer.from([random.int(0, 255)]), 0, 1, at);
      }
      await file.close();
      await extractFolder({ image, name: 'upper', target }).catch((error: unknown) => {
        if (!isCode(error, 'data-loss') && !isCode(error, 'failed-precondition')) throw error;
      });
      await rm(target, { recursive: true, force: true });
    }
  });
});
