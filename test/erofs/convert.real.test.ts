import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, closeSync, lstatSync, mkdirSync, openSync } from 'node:fs';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { link, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { readRoot } from '../../src/erofs/root.js';
import { convertDirectory, convertTar, layerUuid } from '../../src/erofs/index.js';
import { diskUsage, getXattr, listXattrs, setXattr } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { deadlineMs, digestOf, directory, file, inOrder, makeLayer, mergeInto, mounted, writeTar } from './images.js';

const uuid = layerUuid(digestOf('layer'));
const run = (tool: string, ...args: string[]) => execFileSync(tool, args, { encoding: 'utf8', stdio: 'pipe' });

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});

requires(
  'root',
  'loop',
  'erofs',
  'mkfs.erofs',
)('a layer tar becomes an image', () => {
  const opened = (path: string) => {
    const fd = openSync(path, 'r');
    return { fd, close: () => closeSync(fd) };
  };

  it('of the same bytes from a file, a descriptor and a pipe, whatever clock, umask, folder and environment', async () => {
    const tar = await writeTar(join(folder, 'layer.tar'), [directory('./'), file('./a', 'a'.repeat(10_000))]);
    const output = (name: string) => join(folder, name);
    await convertTar({ tar, output: output('file'), uuid, deadlineMs });
    await convertTar({ tar: opened(tar), output: output('descriptor'), uuid, deadlineMs });
    run('sh', '-c', 'mkfifo "$1"', '-', output('pipe'));
    const feeder = spawn('sh', ['-c', 'exec cat "$1" >"$2"', '-', tar, output('pipe')], { stdio: 'ignore' });
    onTestFinished(() => void feeder.kill());
    await convertTar({ tar: opened(output('pipe')), output: output('piped'), uuid, deadlineMs });

    const [umask, cwd, environment] = [process.umask(0o077), process.cwd(), { ...process.env }];
    try {
      process.chdir('/');
      Object.assign(process.env, { SOURCE_DATE_EPOCH: '1234567890', TZ: 'Asia/Kathmandu', LC_ALL: 'tr_TR.UTF-8' });
      await convertTar({ tar, output: output('elsewhere'), uuid, deadlineMs });
    } finally {
      process.umask(umask);
      process.chdir(cwd);
      for (const name of ['SOURCE_DATE_EPOCH', 'TZ', 'LC_ALL']) {
        if (environment[name] === undefined) delete process.env[name];
        else process.env[name] = environment[name];
      }
    }
    const bytes = readFileSync(output('file'));
    for (const name of ['descriptor', 'piped', 'elsewhere']) {
      expect(readFileSync(output(name)).equals(bytes), name).toBe(true);
    }
  });

  it('that fsck.erofs finds sound, with the UUID that was asked for', async () => {
    const tar = await writeTar(join(folder, 'layer.tar'), [directory('./'), file('./a', 'a')]);
    const output = join(folder, 'layer.erofs');
    const superblock = await convertTar({ tar, output, uuid, deadlineMs });
    expect(superblock).toMatchObject({ uuid, blockSize: 4096, bytes: statSync(output).size, extraDevices: 0 });
    run('fsck.erofs', output);
  });

  it('whose root has what the tar says of it', async () => {
    const mtime = new Date(1_600_000_000_000);
    const image = await makeLayer(folder, 'root', [directory('./', { mode: 0o1750, uid: 70_000, gid: 5, mtime })]);
    expect((await readRoot(image)).attributes).toEqual({
      mode: 0o1750,
      uid: 70_000,
      gid: 5,
      mtime: 1_600_000_000n,
      mtimeNsec: 0,
    });
    run('fsck.erofs', image);
  });

  it('whose root is 0755 root:root when the tar does not say (mkfs.erofs makes it writable for all)', async () => {
    const image = await makeLayer(folder, 'root', [directory('etc/'), file('etc/a', 'a')]);
    expect((await readRoot(image)).attributes).toEqual({ mode: 0o755, uid: 0, gid: 0, mtime: 0n, mtimeNsec: 0 });
    run('fsck.erofs', image);
  });

  it('whose directories are 0755 root:root when the tar only implies them, and else as it says', async () => {
    const deep = `${'d'.repeat(60)}/`.repeat(60);
    const many = Array.from({ length: 3000 }, (_, n) => file(`many/${n}/file`, String(n)));
    const image = await makeLayer(folder, 'implied', [
      directory('said/', { mode: 0o777 }),
      directory('private/', { mode: 0o700, mtime: new Date(0) }),
      ...[file('implied/by/file', 'x'), file(`${deep}file`, 'x'), ...many],
    ]);
    run('fsck.erofs', image);
    const modes = new Map(listDirectories(await mounted(folder, image)).map(({ path, mode }) => [path, mode]));
    expect(modes.get('said')).toBe(0o777);
    expect(modes.get('private')).toBe(0o700);
    expect(modes.size).toBe(1 + 2 + 2 + 60 + 3001);
    const others = [...modes].filter(([path]) => path !== 'said' && path !== 'private');
    expect(new Set(others.map(([, mode]) => mode))).toEqual(new Set([0o755]));
  });

  it('that is empty when the tar is', async () => {
    const tar = await writeTar(join(folder, 'empty.tar'), []);
    const superblock = await convertTar({ tar, output: join(folder, 'empty.erofs'), uuid, deadlineMs });
    expect(superblock.bytes).toBe(4096);
  });

  it.each(['garbage', 'cut off'])('unless it is %s, and then nothing is left', async (how) => {
    const tar = await writeTar(join(folder, 'layer.tar'), [file('a', 'a'.repeat(100_000))]);
    if (how === 'garbage') await writeFile(tar, Buffer.alloc(100_000, 'garbage'));
    else await truncate(tar, 50_000);
    const output = join(folder, 'layer.erofs');
    await expect(convertTar({ tar, output, uuid, deadlineMs })).rejects.toMatchObject({ code: 'internal' });
    expect(() => statSync(output)).toThrow('ENOENT');
  });
});

requires(
  'root',
  'loop',
  'erofs',
  'mkfs.erofs',
)("an overlay's upper directory becomes an image", () => {
  it('with every kind of file, owner, time, xattr and hard link as it was', async () => {
    const upper = join(folder, 'upper');
    mkdirSync(upper);
    const at = (name: string) => join(upper, name);
    await writeFile(at('file'), 'content');
    await link(at('file'), at('hard link'));
    await symlink('x'.repeat(300), at('symlink'));
    run('mkfifo', at('fifo'));
    run('mknod', at('device'), 'b', '8', '300');
    run('python3', '-c', 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])', at('socket'));
    run('chown', '3000000000:4000000001', at('file'));
    run('chmod', '6751', at('file'));
    setXattr(at('file'), 'security.capability', Buffer.from('0100000200200000000000000000000000000000', 'hex'));
    setXattr(at('file'), 'user.large', Buffer.alloc(3000, 'v'));
    run('touch', '-h', '-d', '@-1.5', at('file'), at('symlink'));
    run('touch', '-d', '@-315619199.876543211', upper);

    const output = join(folder, 'layer.erofs');
    await convertDirectory({ directory: upper, output, uuid, deadlineMs });
    run('fsck.erofs', output);
    const image = await mounted(folder, output);
    for (const name of ['', 'file', 'hard link', 'symlink', 'fifo', 'device', 'socket']) {
      expect(describe(join(image, name)), name).toEqual(describe(at(name)));
    }
    expect(readFileSync(join(image, 'file'), 'utf8')).toBe('content');
    expect(readlinkSync(join(image, 'symlink'))).toBe('x'.repeat(300));
    expect(lstatSync(join(image, 'file')).ino).toBe(lstatSync(join(image, 'hard link')).ino);
  });

  it('with whiteouts and opaque marks as overlay reads them', async () => {
    const upper = join(folder, 'upper');
    mkdirSync(join(upper, 'opaque'), { recursive: true });
    run('mknod', join(upper, 'gone'), 'c', '0', '0');
    setXattr(join(upper, 'opaque'), 'trusted.overlay.opaque', Buffer.from('y'));
    const output = join(folder, 'layer.erofs');
    await convertDirectory({ directory: upper, output, uuid, deadlineMs });
    const image = await mounted(folder, output);
    const gone = lstatSync(join(image, 'gone'));
    expect([gone.isCharacterDevice(), gone.rdev]).toEqual([true, 0]);
    expect(getXattr(join(image, 'opaque'), 'trusted.overlay.opaque')?.toString()).toBe('y');
  });

  it('with the opaque marks of an overlay for users as the ordinary ones, shared and not', async () => {
    const upper = join(folder, 'upper');
    const names = ['a', 'b', 'c', 'd', 'e'];
    for (const name of names) {
      mkdirSync(join(upper, name), { recursive: true });
      setXattr(join(upper, name), 'user.overlay.opaque', Buffer.from('y'));
      setXattr(join(upper, name), 'user.other', Buffer.from(name));
    }
    for (const used of [names, names.slice(0, 1)]) {
      const output = join(folder, `${used.length}.erofs`);
      for (const name of names) if (!used.includes(name)) run('rm', '-r', join(upper, name));
      await convertDirectory({ directory: upper, notes: 'user', output, uuid, deadlineMs });
      run('fsck.erofs', output);
      const image = await mounted(folder, output);
      for (const name of used) {
        expect(getXattr(join(image, name), 'trusted.overlay.opaque')?.toString()).toBe('y');
        expect(getXattr(join(image, name), 'user.overlay.opaque')).toBeUndefined();
        expect(getXattr(join(image, name), 'user.other')?.toString()).toBe(name);
      }
    }
  });

  it.each([
    ['that is mostly holes', 50, 1],
    ['with more data than holes', 3, 5],
  ])('whose sparse files stay sparse, merged too: a tree %s', async (_, holesMiB, dataMiB) => {
    const upper = join(folder, 'upper');
    mkdirSync(upper);
    const sparse = join(upper, 'sparse');
    const data = randomBytes(dataMiB * 2 ** 20);
    await writeFile(sparse, data);
    await truncate(sparse, (holesMiB + dataMiB) * 2 ** 20);
    appendFileSync(sparse, 'end');
    await link(sparse, join(upper, 'linked'));
    const [first, second] = [join(folder, 'first.erofs'), join(folder, 'second.erofs')];
    for (const output of [first, second]) await convertDirectory({ directory: upper, output, uuid, deadlineMs });
    expect((await diskUsage(first)).bytes / 2 ** 20).toBeLessThan(dataMiB + 0.5);
    expect(readFileSync(first).equals(readFileSync(second))).toBe(true);
    run('fsck.erofs', first);
    const image = await mounted(folder, first);
    expect(readFileSync(join(image, 'sparse')).equals(readFileSync(sparse))).toBe(true);

    const merged = join(folder, 'merged.erofs');
    const layers = inOrder(await makeLayer(folder, 'lower', [file('a', 'a')]), first);
    await mergeInto(merged, layers);
    const view = await mounted(folder, merged, layers);
    expect(readFileSync(join(view, 'linked')).equals(readFileSync(sparse))).toBe(true);
    expect(readdirSync(folder).filter((name) => name.endsWith('.sizes'))).toEqual([]);
  });

  it('unless a file in it reads as more than the disk has, and then nothing was written', async () => {
    const upper = join(folder, 'upper');
    mkdirSync(upper);
    await writeFile(join(upper, 'sparse'), 'x');
    await truncate(join(upper, 'sparse'), 2 ** 43);
    const output = join(folder, 'layer.erofs');
    const conversion = convertDirectory({ directory: upper, output, uuid, deadlineMs });
    await expect(conversion).rejects.toMatchObject({ code: 'resource-exhausted' });
    expect(readdirSync(folder)).toEqual(['upper']);
  });

  it('of the same bytes each time', async () => {
    const upper = join(folder, 'upper');
    mkdirSync(join(upper, 'folder'), { recursive: true });
    for (let n = 0; n < 50; n += 1) await writeFile(join(upper, 'folder', `file-${n}`), String(n).repeat(n * 100));
    await utimes(upper, 1, 1);
    for (const name of ['first', 'second']) {
      await convertDirectory({ directory: upper, output: join(folder, name), uuid, deadlineMs });
    }
    expect(readFileSync(join(folder, 'first')).equals(readFileSync(join(folder, 'second')))).toBe(true);
  });
});

function listDirectories(root: string): { path: string; mode: number }[] {
  const out = run('find', root, '-type', 'd', '-printf', '%P\\t%m\\n');
  return out
    .trimEnd()
    .split('\n')
    .map((line) => line.split('\t'))
    .map(([path = '', mode = '']) => ({ path, mode: Number.parseInt(mode, 8) }));
}

/** What must be the same of a file in a directory and in its image. */
function describe(path: string) {
  const { mode, uid, gid, mtimeNs, rdev, nlink, size } = lstatSync(path, { bigint: true });
  const xattrs = listXattrs(path).filter((name) => !/^trusted\.overlay\.origin$|^security\.selinux$/.test(name));
  return {
    ...{ mode, uid, gid, mtimeNs, rdev, nlink },
    size: (mode & 0o170000n) === 0o040000n ? 0n : size,
    xattrs: xattrs.map((name) => [name, getXattr(path, name)?.toString('hex')]),
  };
}
