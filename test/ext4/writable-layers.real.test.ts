import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { writableLayerLimits, WritableLayers } from '../../src/ext4/index.js';
import { setXattr } from '../../src/host/index.js';
import type { RootAttributes } from '../../src/vocabulary.js';
import { mountedReadOnly } from '../harness/mounted.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';

const plain: RootAttributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0n, mtimeNsec: 0 };
const MiB = 1024 * 1024;

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});

const run = (tool: string, ...args: string[]) => execFileSync(tool, args, { encoding: 'utf8', stdio: 'pipe' });
const field = (image: string, name: string) =>
  new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(run('dumpe2fs', '-h', image))?.[1] ?? '';

/** Mounts an image for one test, writable: the guest's view of it. */
function mountWritable(image: string): string {
  const target = join(folder, 'mounted');
  mkdirSync(target);
  run('mount', '-t', 'ext4', '-o', 'loop', image, target);
  onTestFinished(() => void run('umount', target));
  return target;
}

requires('mkfs.ext4')('a writable layer', () => {
  it.each([
    ['the least size', writableLayerLimits.minimum],
    ['the default size', 64 * MiB],
    ['10 GiB', 10 * 1024 * MiB],
    ['1 TiB, too large to be kept in memory', 1024 * 1024 * MiB],
  ])(
    'of %s is clean, has a journal and 4 KiB blocks, and takes little space; the second is as good',
    async (_, bytes) => {
      const layers = new WritableLayers();
      for (const name of ['first.img', 'second.img']) {
        const path = join(folder, name);
        await layers.create({ path, bytes, root: plain });
        run('e2fsck', '-fn', path);
        expect(field(path, 'Block size')).toBe('4096');
        expect(field(path, 'Filesystem features')).toContain('has_journal');
        const { size, blocks, mode } = statSync(path);
        expect(size).toBe(bytes);
        expect(blocks * 512).toBeLessThan(16 * MiB);
        expect(mode & 0o777).toBe(0o600);
      }
      expect(readdirSync(folder).sort()).toEqual(['first.img', 'second.img']);
    },
  );

  it('has a size of whole blocks', async () => {
    const path = join(folder, 'odd.img');
    await new WritableLayers().create({ path, bytes: 10 * MiB + 4097, root: plain });
    expect(statSync(path).size).toBe(10 * MiB + 4096);
    run('e2fsck', '-fn', path);
  });

  it('has a UUID of its own, though it comes from the same template', async () => {
    const layers = new WritableLayers();
    const uuids = new Set<string>();
    for (const name of ['a', 'b', 'c']) {
      await layers.create({ path: join(folder, name), bytes: 8 * MiB, root: plain });
      uuids.add(field(join(folder, name), 'Filesystem UUID'));
    }
    expect(uuids.size).toBe(3);
  });

  it('is written without a process once its template is known', async () => {
    const layers = new WritableLayers();
    await layers.create({ path: join(folder, 'first'), bytes: 8 * MiB, root: plain });
    const path = process.env['PATH'];
    process.env['PATH'] = folder;
    onTestFinished(() => void (process.env['PATH'] = path));
    await layers.create({ path: join(folder, 'second'), bytes: 8 * MiB, root: plain });
    await expect(layers.create({ path: join(folder, 'third'), bytes: 9 * MiB, root: plain })).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(readdirSync(folder).sort()).toEqual(['first', 'second']);
  });

  it.each([writableLayerLimits.minimum - 1, writableLayerLimits.maximum + 1, 0, -1, Number.NaN, 8.5 * MiB + 0.5])(
    'of %d bytes is refused, and nothing is made',
    async (bytes) => {
      const creating = new WritableLayers().create({ path: join(folder, 'rwlayer.img'), bytes, root: plain });
      await expect(creating).rejects.toMatchObject({ code: 'invalid-argument' });
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it('is refused when mkfs.ext4 ends well without formatting, and nothing is left', async () => {
    const tools = join(folder, 'tools');
    mkdirSync(tools);
    writeFileSync(join(tools, 'mkfs.ext4'), '#!/bin/sh\nexit 0\n');
    chmodSync(join(tools, 'mkfs.ext4'), 0o755);
    const path = process.env['PATH'];
    process.env['PATH'] = `${tools}:${path}`;
    onTestFinished(() => void (process.env['PATH'] = path));
    const creating = new WritableLayers().create({ path: join(folder, 'rwlayer.img'), bytes: 8 * MiB, root: plain });
    await expect(creating).rejects.toMatchObject({ code: 'internal', message: /is not ext4/ });
    expect(readdirSync(folder)).toEqual(['tools']);
  });

  it('that is cancelled leaves nothing', async () => {
    const creating = new WritableLayers().create({
      path: join(folder, 'rwlayer.img'),
      bytes: 8 * MiB,
      root: plain,
      signal: AbortSignal.abort(),
    });
    await expect(creating).rejects.toMatchObject({ code: 'cancelled' });
    expect(readdirSync(folder)).toEqual([]);
  });
});

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.ext4',
)('the upper/ of a writable layer', () => {
  it.each<[string, RootAttributes]>([
    ['an ordinary root', { mode: 0o755, uid: 0, gid: 0, mtime: 1_700_000_000n, mtimeNsec: 0 }],
    [
      'a time before 1970 with nanoseconds',
      { mode: 0o1777, uid: 0, gid: 0, mtime: -315_619_200n, mtimeNsec: 123_456_789 },
    ],
    ['owners beyond 2^31', { mode: 0o6750, uid: 3_000_000_000, gid: 4_000_000_001, mtime: 1n, mtimeNsec: 1 }],
    ['a time beyond 2038', { mode: 0o700, uid: 65_536, gid: 65_535, mtime: 5_000_000_000n, mtimeNsec: 999_999_999 }],
  ])('has the attributes of %s, from the first image and from the template', async (_, root) => {
    const layers = new WritableLayers();
    const expected = {
      mode: BigInt(root.mode),
      uid: BigInt(root.uid),
      gid: BigInt(root.gid),
      mtimeNs: root.mtime * 1_000_000_000n + BigInt(root.mtimeNsec),
    };
    for (const name of ['first', 'second']) {
      const path = join(folder, name);
      await layers.create({ path, bytes: 16 * MiB, root });
      run('e2fsck', '-fn', path);
      const target = join(folder, `${name}.d`);
      mkdirSync(target);
      const mounted = await mountedReadOnly({ image: path, target, type: 'ext4' });
      const { mode, uid, gid, mtimeNs } = statSync(join(mounted, 'upper'), { bigint: true });
      expect({ mode: mode & 0o7777n, uid, gid, mtimeNs }).toEqual(expected);
      expect(readdirSync(mounted).sort()).toEqual(['lost+found', 'upper', 'work']);
    }
  });

  it('stores xattrs of several kilobytes and long symlinks, at the least size too', async () => {
    const path = join(folder, 'rwlayer.img');
    await new WritableLayers().create({ path, bytes: writableLayerLimits.minimum, root: plain });
    const target = mountWritable(path);
    const file = join(target, 'upper', 'file');
    writeFileSync(file, 'x');
    setXattr(file, 'user.large', Buffer.alloc(3900, 'v'));
    run('ln', '-s', 'x'.repeat(4000), join(target, 'upper', 'link'));
  });

  it('serves a kernel overlay, with its work/', async () => {
    const path = join(folder, 'rwlayer.img');
    await new WritableLayers().create({ path, bytes: 16 * MiB, root: { ...plain, mode: 0o1755, gid: 42 } });
    const target = mountWritable(path);
    const lower = join(folder, 'lower');
    const root = join(folder, 'root');
    mkdirSync(lower);
    mkdirSync(root);
    writeFileSync(join(lower, 'gone'), '');
    const options = `lowerdir=${lower},upperdir=${target}/upper,workdir=${target}/work`;
    run('mount', '-t', 'overlay', '-o', options, 'overlay', root);
    onTestFinished(() => void run('umount', root));
    writeFileSync(join(root, 'new'), 'new');
    run('rm', join(root, 'gone'));
    expect(readdirSync(root)).toEqual(['new']);
    const { mode, gid } = statSync(root);
    expect({ mode: mode & 0o7777, gid }).toEqual({ mode: 0o1755, gid: 42 });
  });
});

requires('root', 'mkfs.ext4')('a full disk', () => {
  it('is said so, with the free bytes, and leaves nothing: while formatting and while writing from the template', async () => {
    const layers = new WritableLayers();
    await layers.create({ path: join(folder, 'known'), bytes: 8 * MiB, root: plain });
    const small = join(folder, 'small');
    mkdirSync(small);
    run('mount', '-t', 'tmpfs', '-o', 'size=72k', 'tmpfs', small);
    onTestFinished(() => void run('umount', small));
    for (const maker of [new WritableLayers(), layers]) {
      writeFileSync(join(small, 'ballast'), Buffer.alloc(48 * 1024));
      const creating = maker.create({ path: join(small, 'rwlayer.img'), bytes: 8 * MiB, root: plain });
      await expect(creating).rejects.toMatchObject({ code: 'resource-exhausted' });
      expect(readdirSync(small)).toEqual(['ballast']);
    }
  });
});

describe('the limits of a writable layer', () => {
  it('admit the default of 64 MiB', () => {
    expect(writableLayerLimits.minimum).toBeLessThanOrEqual(64 * MiB);
    expect(writableLayerLimits.maximum).toBeGreaterThanOrEqual(1024 * 1024 * MiB);
  });
});
