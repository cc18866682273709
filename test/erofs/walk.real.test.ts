import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { convertDirectory, layerUuid, readFiles, tryMerging } from '../../src/erofs/index.js';
import { checkTree } from '../../src/erofs/tree-check.js';
import { entryTypes, EntrySum } from '../../src/erofs/entry-sum.js';
import { walkImage } from '../../src/erofs/walk.js';
import { CodedError } from '../../src/errors.js';
import { setXattr } from '../../src/host/index.js';
import { randomOf, times, type Random } from '../harness/share.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import {
  deadlineMs,
  digestOf,
  directory,
  fakeMkfs,
  file,
  inOrder,
  makeLayer,
  mergeInto,
  type Entry,
} from './images.js';

const uuid = layerUuid(digestOf('layer'));
const run = (tool: string, ...args: string[]) => execFileSync(tool, args, { encoding: 'utf8', stdio: 'pipe' });

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});

requires('mkfs.erofs')('the metadata of an image is walked', () => {
  it('each entry once, with path, type and size, whatever their order: the sum is that of what the layer has', async () => {
    const many = Array.from({ length: 3000 }, (_, n) => file(`many/${n}`, 'x'.repeat(n % 50)));
    const entries: Entry[] = [
      directory('./'),
      directory('many/'),
      ...many,
      directory('d/'),
      { name: 'd/link', type: 'symlink', linkname: 'target' },
      { name: 'd/pipe', type: 'fifo' },
      { name: 'd/disk', type: 'block-device', devmajor: 259, devminor: 70_000 },
      { name: 'd/null', type: 'character-device', devmajor: 1, devminor: 3 },
      { name: 'd/.wh.gone', content: '' },
      file('d/hard', 'four'),
      { name: 'd/linked', type: 'link', linkname: 'd/hard' },
    ];
    const image = await makeLayer(folder, 'layer', entries);
    const sum = new EntrySum(7);
    sum.add('d/linked', entryTypes.file, 4);
    sum.add('d/gone', entryTypes['character device'], 0);
    sum.add('d/gone too', entryTypes.file, 1);
    for (const { name, content = '' } of many) sum.add(name, entryTypes.file, content.length);
    for (const name of ['', 'many', 'd']) sum.add(name, entryTypes.directory, 0);
    sum.add('d/link', entryTypes.symlink, 6);
    sum.add('d/pipe', entryTypes.fifo, 0);
    sum.add('d/disk', entryTypes['block device'], 0);
    sum.add('d/null', entryTypes['character device'], 1);
    sum.add('d/hard', entryTypes.file, 4);
    sum.remove('d/gone too', entryTypes.file, 1);
    expect(await walkImage(image, { seed: 7 })).toMatchObject({ entries: 3010, sum: sum.value });
    expect(await checkTree(image, { seed: 7, deadlineMs })).toMatchObject({ sum: sum.value });
    const other = await walkImage(image, { seed: 8 });
    expect(other.sum).not.toBe(sum.value);
  });

  /** An image of `aaaa`, the folder `bbbb` with `x`, the folder `cccc`, and the symlink `dddd`, to be damaged. */
  async function plain(): Promise<Damageable> {
    const path = await makeLayer(folder, 'plain', [
      directory('./'),
      file('aaaa', 'x'.repeat(5000)),
      directory('bbbb/'),
      file('bbbb/x', 'x'),
      directory('cccc/'),
      { name: 'dddd', type: 'symlink', linkname: 'target' },
    ]);
    return new Damageable(path);
  }

  it.each<[how: string, why: RegExp, damage: (image: Damageable) => void]>([
    ['a folder holds the root', /two places/, (image) => image.point('cccc', image.nid('.'))],
    ['a folder stands in two places', /two places/, (image) => image.point('cccc', image.nid('bbbb'))],
    ['an entry points beyond the end', /beyond its end/, (image) => image.point('aaaa', 1n << 40n)],
    [
      'an entry points where no file can reach',
      /beyond its end/,
      (image) => image.point('aaaa', 0xffff_ffff_ffff_fff0n),
    ],
    ['an entry is no more what it was', /another/, (image) => image.point('aaaa', image.nid('bbbb'))],
    ['names are out of order', /out of order/, (image) => image.rename('aaaa', 'eeee')],
    ['a name comes twice', /out of order/, (image) => image.rename('aaaa', 'bbbb')],
    ['a name has a slash', /no file can have/, (image) => image.rename('aaaa', 'aa/a')],
    ['a name has a zero byte', /no file can have/, (image) => image.rename('aaaa', 'aa\0a')],
    ['a folder is larger than the image', /overlap/, (image) => image.resize('bbbb', 2 ** 31)],
    ['a symlink is larger than any', /symlink/, (image) => image.resize('dddd', 100_000)],
    ['the data of a file lies beyond the end', /beyond its end/, (image) => image.word('aaaa', 16, 1_000_000)],
    ['a file has a layout that there is none of', /layout 7/, (image) => image.short('aaaa', 0, 14)],
    ['xattrs are larger than the image', /overlap/, (image) => image.short('bbbb', 2, 0xffff)],
  ])('and refused when %s, naming the file', async (_, why, damage) => {
    const image = await plain();
    damage(image);
    image.write();
    const error: unknown = await walkImage(image.path, { thorough: true }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'data-loss', message: expect.stringMatching(why) as string });
    expect((error as CodedError).message).toContain(image.path);
  });

  it('and refused when it has more entries than it may, or they take too long', async () => {
    const path = await makeLayer(
      folder,
      'many',
      Array.from({ length: 2000 }, (_, n) => file(String(n), '')),
    );
    await expect(walkImage(path, { maximumEntries: 1000 })).rejects.toThrow(/more than 1000 entries/);
    await expect(checkTree(path, { deadlineMs: 0 })).rejects.toMatchObject({ code: 'data-loss' });
  });

  it('by every reader, however its bytes are changed: an answer, or an error that names the file', async () => {
    const random = randomOf();
    const source = join(folder, 'source');
    mkdirSync(join(source, 'folder'), { recursive: true });
    for (let n = 0; n < 60; n += 1) writeFileSync(join(source, 'folder', `file ${n}`), 'x'.repeat(n * 100));
    truncateSync(join(source, 'folder', 'file 1'), 3 * 2 ** 20);
    setXattr(join(source, 'folder'), 'user.a', Buffer.alloc(300, 'a'));
    setXattr(join(source, 'folder'), 'trusted.overlay.opaque', Buffer.from('y'));
    run('ln', '-s', 'folder/file 3', join(source, 'link'));
    const layer = join(folder, 'upper.erofs');
    await convertDirectory({ directory: source, output: layer, uuid, deadlineMs });
    const chunked = join(folder, 'chunked.erofs');
    run('mkfs.erofs', '--quiet', '-b4096', '--chunksize=4096', chunked, source);
    const inline = join(folder, 'inline.erofs');
    run('mkfs.erofs', '--quiet', '-b4096', '-C65536', '-zlz4', inline, source);
    const path = join(folder, 'damaged.erofs');
    for (const original of [layer, chunked, inline].map((name) => readFileSync(name))) {
      for (let round = 0; round < times(150, 2000); round += 1) {
        const bytes = Buffer.from(original);
        for (let changes = random.int(1, 8); changes > 0; changes -= 1) damageOne(bytes, random);
        // Nothing vouches for an image with no checksum, so that what is damaged is found out by what it leads to.
        bytes.writeUInt8(bytes.readUInt8(1032) & ~1, 1032);
        writeFileSync(path, bytes);
        for (const [reader, read] of Object.entries(readers)) {
          const error: unknown = await read(path).then(
            () => undefined,
            (thrown: unknown) => thrown,
          );
          if (error === undefined) continue;
          const told = error instanceof CodedError && ['data-loss', 'failed-precondition'].includes(error.code);
          if (told && error.message.includes(path)) continue;
          throw new Error(`${reader}, round ${round}`, { cause: error });
        }
      }
    }
  });
});

/** Where metadata lies more often than elsewhere: bytes that are not zero, and the superblock. */
function damageOne(bytes: Buffer, random: Random): void {
  const place = () => random.int(1024, bytes.length - 1);
  let at = place();
  for (let tries = 0; tries < 64 && bytes[at] === 0; tries += 1) at = place();
  if (random.oneIn(3)) at = random.int(1024, 1151);
  const flipped = bytes.readUInt8(at) ^ (1 << random.int(0, 7));
  bytes.writeUInt8(random.pick([0xff, 0x7f, 0x80, 0x00, random.int(0, 255), flipped]), at);
}

const readers = {
  walk: (path: string) => walkImage(path, { thorough: true, maximumEntries: 10_000 }),
  browse: (path: string) =>
    readFiles({ path, devices: inOrder() }, (files) => {
      const root = files.root();
      for (const { file: found } of files.list(root)) {
        if (found.kind === 'directory') files.list(found);
        if (found.kind === 'symlink') files.linkTarget(found);
      }
      files.find(root, 'folder');
    }),
};

requires('mkfs.erofs')('a layer that mkfs.erofs cannot take', () => {
  it('is told as its damage when the tool crashes merging it, and other layers are not blamed', async () => {
    const [good, bad] = [
      await makeLayer(folder, 'good', [file('a', 'a')]),
      await makeLayer(folder, 'bad', [file('b', 'b')]),
    ];
    await fakeMkfs(folder, `case "$*" in *${bad}*) kill -SEGV $$;; esac; cp ${good} "$out"`);
    const merge = mergeInto(join(folder, 'merged'), inOrder(good, bad));
    await expect(merge).rejects.toMatchObject({ code: 'data-loss', message: expect.stringContaining(bad) as string });
    await expect(tryMerging(bad, join(folder, 'trial'), { deadlineMs })).rejects.toThrow(/crashes/);
    await tryMerging(good, join(folder, 'trial'), { deadlineMs });
  });

  it('is told as its damage when its folders are a loop, over which the tool does not end', async () => {
    const good = await makeLayer(folder, 'good', [file('a', 'a')]);
    const bad = new Damageable(
      await makeLayer(folder, 'bad', [directory('./'), directory('aaaa/'), file('bbbb', 'b')]),
    );
    bad.point('aaaa', bad.nid('.'));
    bad.write();
    await fakeMkfs(folder, 'exec sleep 60');
    const merge = mergeInto(join(folder, 'merged'), inOrder(good, bad.path), 500);
    await expect(merge).rejects.toMatchObject({
      code: 'data-loss',
      message: expect.stringContaining(bad.path) as string,
    });
    await expect(tryMerging(good, join(folder, 'trial'), { deadlineMs: 8000 })).rejects.toThrow(/does not end/);
  });

  it('is not merged when it has a file of more than 4 GiB in chunks (up to 1.9.4 its end becomes its beginning)', async () => {
    const source = join(folder, 'source');
    mkdirSync(source);
    writeFileSync(join(source, 'large'), 'x');
    truncateSync(join(source, 'large'), 4.5 * 2 ** 30);
    const large = join(folder, 'large.erofs');
    run('mkfs.erofs', '--quiet', '-b4096', '--chunksize=1048576', large, source);
    truncateSync(join(source, 'large'), 3 * 2 ** 30);
    const small = join(folder, 'small.erofs');
    run('mkfs.erofs', '--quiet', '-b4096', '--chunksize=1048576', small, source);
    const good = await makeLayer(folder, 'good', [file('a', 'a')]);
    const merge = (layer: string) => mergeInto(join(folder, 'merged'), inOrder(good, layer));
    await expect(merge(large)).rejects.toMatchObject({ code: 'failed-precondition' });
    await merge(small);
  });
});

/** An image whose root's entries, all in one block, are changed. */
class Damageable {
  readonly path: string;
  readonly #bytes: Buffer;
  /** Where the root's entries begin. */
  #block: number;

  constructor(path: string) {
    this.path = path;
    this.#bytes = readFileSync(path);
    // The names follow the entries, whose first one says where the names begin.
    const names = this.#bytes.indexOf('...aaaa');
    for (let start = names - 12; ; start -= 12) {
      this.#block = start;
      if (this.#bytes.readUInt16LE(start + 8) === names - start) break;
    }
  }

  nid(name: string): bigint {
    return this.#bytes.readBigUInt64LE(this.#entry(name));
  }

  point(name: string, nid: bigint): void {
    this.#bytes.writeBigUInt64LE(nid, this.#entry(name));
  }

  rename(name: string, other: string): void {
    this.#bytes.write(other, this.#block + this.#bytes.readUInt16LE(this.#entry(name) + 8), 'latin1');
  }

  resize(name: string, size: number): void {
    this.word(name, 8, size);
  }

  word(name: string, offset: number, value: number): void {
    this.#bytes.writeUInt32LE(value, this.#inode(name) + offset);
  }

  short(name: string, offset: number, value: number): void {
    this.#bytes.writeUInt16LE(value, this.#inode(name) + offset);
  }

  /** Without a checksum, since nothing vouches for an image of a hostile author either. */
  write(): void {
    this.#bytes.writeUInt8(this.#bytes.readUInt8(1032) & ~1, 1032);
    writeFileSync(this.path, this.#bytes);
  }

  #inode(name: string): number {
    return this.#bytes.readUInt32LE(1024 + 40) * 4096 + Number(this.nid(name)) * 32;
  }

  #entry(name: string): number {
    const count = this.#bytes.readUInt16LE(this.#block + 8) / 12;
    for (let index = 0; index < count; index += 1) {
      const at = this.#block + index * 12;
      const start = this.#bytes.readUInt16LE(at + 8);
      const end = index + 1 < count ? this.#bytes.readUInt16LE(at + 20) : start + name.length;
      if (this.#bytes.toString('latin1', this.#block + start, this.#block + end) === name) return at;
    }
    throw new Error(`there is no ${name} in ${this.path}`);
  }
}
