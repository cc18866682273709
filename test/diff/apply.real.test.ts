import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { lstat, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip, gzipSync } from 'node:zlib';
import { expect, it, onTestFinished } from 'vitest';
import { isCode, type ErrorCode } from '../../src/errors.js';
import { getXattr, unmount } from '../../src/host/index.js';
import { layerUuid } from '../../src/erofs/index.js';
import { readSuperblock } from '../../src/erofs/superblock.js';
import type { LayerTar } from '../../src/layers/index.js';
import { newestFirst, oldestFirst } from '../../src/vocabulary.js';
import { requires } from '../harness/requires.js';
import { mountedReadOnly } from '../harness/mounted.js';
import { fromSource } from '../harness/from-source.js';
import { temporaryFolder } from '../host/temporary.js';
import { mergeInto } from '../erofs/images.js';
import { applyWorld, digestOf, gzip, gzipMembers, plain, zstd, type ApplyWorld } from './apply-world.js';
import { brokenTars, soundTars } from './layers.js';
import { onlyPrograms, programOnPath } from './search-path.js';
import { loneLayers } from './lone-layers.js';
import { gnuLong, tar, tarHeader } from './tar-builder.js';

const failure = (code: ErrorCode, message: RegExp) =>
  expect.toSatisfy((error) => isCode(error, code) && message.test(error.message)) as Error;

async function mounted(world: ApplyWorld): Promise<string> {
  const target = await temporaryFolder();
  return mountedReadOnly({ image: world.image, target, type: 'erofs' });
}

const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
const longName = 'n'.repeat(200);
const accents = `ünï/${'长'.repeat(60)}`;
const everything = Buffer.concat([
  tar(
    { name: './', type: '5', mode: 0o1755, uid: 5, gid: 6 },
    { name: 'etc/', type: '5', mode: 0o750, uid: 70_000, gid: 4_000_000, mtime: -100 },
    { name: 'etc/file', data: 'contents', mode: 0o4755, mtime: 1_600_000_000 },
    { name: 'etc/hard', type: '1', link: './etc/file', mode: 0o4755, mtime: 1_600_000_000 },
    { name: 'etc/soft', type: '2', link: '../../anywhere', mode: 0o777 },
    { name: 'etc/fifo', type: '6' },
    { name: 'etc/null', type: '3', major: 1, minor: 3 },
    { name: 'etc/disk', type: '4', major: 259, minor: 70_000 },
    {
      name: 'etc/ping',
      data: 'x',
      pax: { 'SCHILY.xattr.security.capability': capability, 'SCHILY.xattr.user.ü': 'välue' },
    },
    { name: 'short', data: 'accents', pax: { path: accents, mtime: '1700000000.123456789' } },
    { name: 'gone/', type: '5' },
    { name: 'gone/.wh.lost' },
    { name: 'gone/.wh..wh..opq' },
    { name: 'twice', data: 'first' },
    { name: 'twice', data: 'second' },
    { name: 'big', data: randomBytes(300_000) },
  ).subarray(0, -1024),
  gnuLong('L', longName),
  tar({ name: 'short', data: 'long' }),
]);

/** Bytes of memory that a process of its own needs at most while it converts this blob. */
async function peakMemory(blobPath: string): Promise<number> {
  const child = join(import.meta.dirname, 'memory-child.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [...fromSource, child, blobPath, gzip]);
  return Number(stdout);
}

const withMachine = requires('root', 'loop', 'erofs', 'mkfs.erofs');

withMachine('Apply', () => {
  it('makes an image with the tree of the tar, named by its UUID', async () => {
    const world = await applyWorld();
    const blob = gzipSync(everything);
    const answer = await world.apply(blob, { mediaType: gzip });
    expect(answer).toEqual({ mediaType: plain, digest: digestOf(everything), size: everything.length });
    expect(await world.leftovers()).toEqual(['layer.erofs']);
    expect((await readSuperblock(world.image)).uuid).toBe(layerUuid(digestOf(blob)));

    const root = await mounted(world);
    const stat = (name: string) => lstat(`${root}/${name}`);
    expect(await stat('.')).toMatchObject({ mode: 0o41755, uid: 5, gid: 6 });
    expect(await stat('etc')).toMatchObject({ mode: 0o40750, uid: 70_000, gid: 4_000_000, mtimeMs: -100_000 });
    expect(await stat('etc/file')).toMatchObject({ mode: 0o104755, nlink: 2, mtimeMs: 1_600_000_000_000 });
    expect((await stat('etc/hard')).ino).toBe((await stat('etc/file')).ino);
    expect(await readlink(join(root, 'etc/soft'))).toBe('../../anywhere');
    expect((await stat('etc/fifo')).isFIFO()).toBe(true);
    expect(await stat('etc/null')).toMatchObject({ mode: 0o20644, rdev: 0x103 });
    expect((await stat('etc/disk')).isBlockDevice()).toBe(true);
    expect(Buffer.from(getXattr(join(root, 'etc/ping'), 'security.capability') ?? [])).toEqual(capability);
    expect(Buffer.from(getXattr(join(root, 'etc/ping'), 'user.ü') ?? []).toString()).toBe('välue');
    expect(await readFile(join(root, accents), 'utf8')).toBe('accents');
    expect(await readFile(join(root, 'twice'), 'utf8')).toBe('second');
    expect(await readFile(join(root, longName), 'utf8')).toBe('long');
    expect(await stat('gone/lost')).toMatchObject({ rdev: 0 });
    expect((await stat('gone/lost')).isCharacterDevice()).toBe(true);
    expect(Buffer.from(getXattr(join(root, 'gone'), 'trusted.overlay.opaque') ?? []).toString()).toBe('y');
    expect((await readdir(join(root, 'gone'))).sort()).toEqual(['lost']);
  });

  it('gives folders that no entry describes mode 0755 and keeps what marks them', async () => {
    const bytes = tar(
      { name: 'a/b/file', data: 'x' },
      { name: 'a/.wh..wh..opq' },
      { name: 'long', data: 'y', pax: { path: `${'d'.repeat(150)}/file` } },
    );
    for (const [mediaType, blob] of [
      [plain, bytes],
      [gzip, gzipSync(bytes)],
    ] as const) {
      const world = await applyWorld();
      expect(await world.apply(blob, { mediaType })).toMatchObject({ digest: digestOf(bytes), size: bytes.length });
      const root = await mounted(world);
      for (const name of ['a', 'a/b', 'd'.repeat(150)]) {
        expect(await lstat(`${root}/${name}`)).toMatchObject({ mode: 0o40755, uid: 0, gid: 0 });
      }
      expect(Buffer.from(getXattr(join(root, 'a'), 'trusted.overlay.opaque') ?? []).toString()).toBe('y');
      expect(await readFile(join(root, 'a/b/file'), 'utf8')).toBe('x');
    }
  });

  it.each([
    ['taken where it lies', plain, (bytes: Buffer) => bytes],
    ['decompressed', gzip, gzipSync],
  ])('lets an older layer describe what a tar only implies, when it is %s', async (_title, mediaType, pack) => {
    const deep = `${'d'.repeat(80)}/${'e'.repeat(80)}/ü\n`;
    const said = ['tmp', 'tmp/sub', ...deep.split('/').map((_, depth, all) => all.slice(0, depth + 1).join('/'))];
    const folders = said.map((path) => ({ name: '', type: '5', mode: 0o1777, uid: 5, pax: { path: `${path}/` } }));
    const older = await applyWorld();
    await older.apply(pack(tar({ name: './', type: '5', mode: 0o700 }, ...folders)), { mediaType });
    for (const names of [['tmp/sub/x', `${deep}/x`], ['only a file']]) {
      const newer = await applyWorld();
      const files = names.map((path) => ({ name: '', data: 'x', pax: { path } }));
      await newer.apply(pack(tar(...files)), { mediaType });
      const layers = [older.image, newer.image];
      const output = join(newer.folder, 'fsmeta.erofs');
      await mergeInto(output, oldestFirst(newestFirst(layers.toReversed())));
      const folder = await temporaryFolder();
      const target = await mountedReadOnly({ image: output, devices: layers, target: folder, type: 'erofs' });
      expect((await lstat(target)).mode).toBe(0o40700);
      for (const path of said) expect(await lstat(join(target, path))).toMatchObject({ mode: 0o41777, uid: 5 });
      for (const path of names) expect(await readFile(join(target, path), 'utf8')).toBe('x');
    }
  });

  it('makes the same bytes of the same blob, whichever way it is decompressed and delivered', async () => {
    const blob = gzipMembers(everything, randomBytes(400_000));
    const images: Buffer[] = [];
    for (const programs of [['igzip'], ['pigz'], [], []]) {
      const world = await applyWorld();
      const mkfs = (await programOnPath('mkfs.erofs')) ?? 'mkfs.erofs';
      await onlyPrograms(programs, { 'mkfs.erofs': `PATH=/usr/bin:/bin exec ${mkfs} "$@"` });
      const stream = images.length === 3 ? chunks(blob) : undefined;
      await world.apply(blob, { mediaType: gzip, ...(stream ? { stream } : {}) });
      expect(await world.leftovers()).toEqual(['layer.erofs']);
      images.push(await world.imageBytes());
    }
    expect(images.map(digestOf)).toEqual(images.map(() => digestOf(images[0]!)));
  });

  it('takes over a layer that is held already, by the digest of its blob or of its tar, without opening the content', async () => {
    const held: LayerTar = { diffId: digestOf(everything), tarBytes: everything.length };
    const blob = gzipSync(everything);
    for (const known of [digestOf(blob), held.diffId]) {
      const world = await applyWorld(
        {
          content: {
            info: () => Promise.resolve({ labels: {} }),
            ...loneLayers,
            open: () => Promise.reject(new Error('opened')),
          },
        },
        { [known]: held },
      );
      const answer = { mediaType: plain, digest: held.diffId, size: held.tarBytes };
      expect(await world.apply(blob, { mediaType: gzip, diffId: held.diffId })).toEqual(answer);
      expect(await world.leftovers()).toEqual([]);
    }
  });

  it('takes a plain tar where it lies, and zstd', async () => {
    const world = await applyWorld();
    expect(await world.apply(everything, { mediaType: plain })).toMatchObject({ digest: digestOf(everything) });
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'tar'), everything);
    await promisify(execFile)('zstd', ['-q', join(folder, 'tar')]);
    expect(await world.apply(join(folder, 'tar.zst'), { mediaType: zstd })).toMatchObject({
      digest: digestOf(everything),
    });
    expect(await world.leftovers()).toEqual(['layer.erofs']);
  });

  it.each(Object.entries(soundTars))('converts a tar with %s, and counts its every byte', async (_title, bytes) => {
    const world = await applyWorld();
    const answer = { mediaType: plain, digest: digestOf(bytes), size: bytes.length };
    expect(await world.apply(gzipSync(bytes), { mediaType: gzip })).toEqual(answer);
    expect(await world.apply(bytes, { mediaType: plain })).toEqual(answer);
    expect(await world.leftovers()).toEqual(['layer.erofs']);
    await mounted(world);
  });

  it.each(Object.entries(brokenTars))('refuses %s and leaves nothing', async (_title, [bytes, message]) => {
    const world = await applyWorld();
    await expect(world.apply(gzipSync(bytes), { mediaType: gzip })).rejects.toThrow(
      failure('invalid-argument', message),
    );
    await expect(world.apply(bytes, { mediaType: plain })).rejects.toThrow(failure('invalid-argument', message));
    expect(await world.leftovers()).toEqual([]);
  });

  it('says that the digest is wrong, whatever else is wrong with the content, and leaves nothing', async () => {
    const digest = digestOf(Buffer.from('something else'));
    const wrong = failure('data-loss', new RegExp(`digest sha256:[0-9a-f]{64}, and ${digest} was expected`));
    const world = await applyWorld();
    const blob = gzipSync(everything);
    for (const content of [
      blob,
      blob.subarray(0, blob.length / 2),
      Buffer.concat([blob, Buffer.from('x')]),
      Buffer.from('no gzip'),
    ]) {
      await expect(world.apply(content, { mediaType: gzip, digest })).rejects.toThrow(wrong);
    }
    for (const content of [everything, everything.subarray(0, 800), tar({ name: 'l', type: '1', link: 'nowhere' })]) {
      await expect(world.apply(content, { mediaType: plain, digest })).rejects.toThrow(wrong);
    }
    expect(await world.leftovers()).toEqual([]);
  });

  it('leaves a foreign media type to the next differ before it opens the content', async () => {
    const world = await applyWorld({
      content: {
        info: () => Promise.resolve({ labels: {} }),
        ...loneLayers,
        open: () => Promise.reject(new Error('opened')),
      },
    });
    await expect(world.apply(everything, { mediaType: `${plain}+br` })).rejects.toThrow(failure('not-mine', /\+br/));
    expect(await world.leftovers()).toEqual([]);
  });

  it('refuses a layer that unpacks to more than allowed, however it is compressed', async () => {
    const bomb = Buffer.concat([gzipSync(randomBytes(300_000)), gzipSync(Buffer.alloc(20_000_000))]);
    const world = await applyWorld({ maxLayerBytes: 1_000_000 });
    for (const programs of [['igzip', 'gzip', 'mkfs.erofs'], ['mkfs.erofs']]) {
      await onlyPrograms(programs);
      await expect(world.apply(bomb, { mediaType: gzip })).rejects.toThrow(
        failure('invalid-argument', /unpacks to more than 1000000 bytes/),
      );
    }
    expect(await world.leftovers()).toEqual([]);
  });

  it('stops and leaves nothing when it is cancelled, and when its time is over', async () => {
    const blob = gzipSync(Buffer.concat([randomBytes(400_000), Buffer.alloc(1024)]));
    const hang = { igzip: 'exec sleep 30', 'mkfs.erofs': 'exec sleep 30' };
    const controller = new AbortController();
    const world = await applyWorld();
    await onlyPrograms(['sleep'], hang);
    setTimeout(() => controller.abort(), 200);
    await expect(world.apply(blob, { mediaType: gzip, signal: controller.signal })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect(await world.leftovers()).toEqual([]);
    const hurried = await applyWorld({ conversionTimeoutMs: 200 });
    await expect(hurried.apply(blob, { mediaType: gzip })).rejects.toMatchObject({ code: 'deadline-exceeded' });
    await expect(hurried.apply(everything, { mediaType: plain })).rejects.toMatchObject({ code: 'deadline-exceeded' });
    expect(await hurried.leftovers()).toEqual([]);
  });

  it('reports a full disk with path and free bytes, and works again when there is space', async () => {
    const world = await applyWorld();
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=80m', 'tmpfs', world.folder]);
    onTestFinished(() => unmount(world.folder));
    const bytes = tar({ name: 'zeros', data: Buffer.alloc(40_000_000) });
    const blob = gzipSync(Buffer.concat([bytes, randomBytes(400_000)]));
    await expect(world.apply(blob, { mediaType: gzip })).rejects.toMatchObject({
      code: 'resource-exhausted',
      facts: { path: world.folder, freeBytes: expect.any(Number) as number },
    });
    expect(await world.leftovers()).toEqual([]);
    await promisify(execFile)('mount', ['-o', 'remount,size=400m', world.folder]);
    await expect(world.apply(blob, { mediaType: gzip })).resolves.toMatchObject({ size: bytes.length + 400_000 });
    expect(await world.leftovers()).toEqual(['layer.erofs']);
  });

  it.each(['programs', 'node:zlib'])(
    'needs no more memory for a layer of 500 MB than for one of 50 MB (%s)',
    async (means) => {
      const folder = await temporaryFolder();
      const sizes = [50_000_000, 500_000_000];
      for (const size of sizes) {
        const zeros = function* () {
          yield tarHeader({ name: 'zeros' }, size);
          for (let at = 0; at < size; at += 1_000_000) yield Buffer.alloc(1_000_000);
          yield Buffer.alloc(1024 + ((512 - (size % 512)) % 512));
        };
        await pipeline(zeros, createGzip({ level: 1 }), createWriteStream(join(folder, String(size))));
      }
      const mkfs = (await programOnPath('mkfs.erofs')) ?? 'mkfs.erofs';
      if (means === 'node:zlib') await onlyPrograms([], { 'mkfs.erofs': `PATH=/usr/bin:/bin exec ${mkfs} "$@"` });
      const small = await peakMemory(join(folder, '50000000'));
      const large = await peakMemory(join(folder, '500000000'));
      expect(large - small).toBeLessThan(40 * 1024 * 1024);
    },
  );

  it('passes on why mkfs.erofs cannot be used, and leaves nothing', async () => {
    const world = await applyWorld();
    const apply = () => world.apply(everything, { mediaType: plain });
    await onlyPrograms([]);
    await expect(apply()).rejects.toThrow(failure('unavailable', /mkfs\.erofs is not on PATH/));
    await onlyPrograms([], { 'mkfs.erofs': 'echo broken >&2; exit 1' });
    await expect(apply()).rejects.toThrow(failure('internal', /broken/));
    await onlyPrograms([], { 'mkfs.erofs': 'exit 0' });
    await expect(apply()).rejects.toThrow(failure('internal', /no usable image/));
    expect(await world.leftovers()).toEqual([]);
  });
});

async function* chunks(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield await Promise.resolve(bytes.subarray(at, at + 65_536));
}
