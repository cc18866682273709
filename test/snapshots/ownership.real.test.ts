import { createHash } from 'node:crypto';
import { chmod, chown, lstat, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { pino } from 'pino';
import { run } from '../../src/host/index.js';
import { makeInProcessWorld, openSnapshotter, portOf, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { makeChain } from './crash-operations.js';
import { boltDatabase, foreignRoots } from './foreign-roots.js';

const marker = '.erofs-snapshotter-leveldb';
const deadlineMs = 10_000;

/** Every entry below a folder and the folder itself, with all that a change would change: times too. */
async function stateOf(folder: string): Promise<readonly string[]> {
  const paths = ['.', ...(await readdir(folder, { recursive: true })).sort()];
  const lines = paths.map(async (path) => {
    const { mode, uid, gid, ino, size, mtimeNs, ctimeNs } = await lstat(join(folder, path), { bigint: true });
    const isFile = (mode & 0o170000n) === 0o100000n;
    const content = isFile ? await readFile(join(folder, path)) : Buffer.alloc(0);
    const hash = createHash('sha256').update(content).digest('hex');
    return [path, mode, uid, gid, ino, size, mtimeNs, ctimeNs, hash].join(' ');
  });
  return Promise.all(lines);
}

const refused = { code: 'failed-precondition' };

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.erofs',
  'mkfs.ext4',
)('a root', () => {
  async function freshRoot(): Promise<string> {
    const root = join(await temporaryFolder(), 'root');
    await mkdir(root, { mode: 0o755 });
    return root;
  }

  it.each(Object.entries(foreignRoots))('of %s is refused and stays byte for byte', async (_whose, make) => {
    const root = await freshRoot();
    await make(root);
    const before = await stateOf(root);
    const error = (await openSnapshotter(root).catch((cause: unknown) => cause)) as { next: string; message: string };
    expect(error).toMatchObject({ ...refused, facts: { root } });
    expect(error.message).toContain(`the root ${root} is not this program's`);
    expect(error.next).toMatch(/--root.*pull or import the images again/);
    expect(await stateOf(root)).toEqual(before);
  });

  it.each<[string, (root: string) => Promise<unknown>]>([
    ['is empty', () => Promise.resolve()],
    ['is a file system that was just made', (root) => mkdir(join(root, 'lost+found'), { mode: 0o700 })],
    ['was left by a kill after the marker', (root) => writeFile(join(root, marker), '')],
    [
      'a release without the marker had only begun',
      async (root) => {
        for (const name of ['snapshots', 'trash', 'ahead']) await mkdir(join(root, name));
        await writeFile(join(root, 'lock'), '');
      },
    ],
    [
      'such a release was making its database in',
      async (root) => {
        for (const name of ['snapshots', 'trash', 'ahead', 'metadata.db']) await mkdir(join(root, name));
        for (const name of ['lock', 'metadata.db/LOCK', 'metadata.db/MANIFEST-000001'])
          await writeFile(join(root, name), '');
      },
    ],
  ])('that %s becomes ours, with its mode repaired', async (_how, make) => {
    const root = await freshRoot();
    await make(root);
    await chmod(root, 0o777);
    await (await openSnapshotter(root)).close();
    expect((await stat(root)).mode & 0o7777).toBe(0o700);
    expect(await readdir(root)).toContain(marker);
    await (await openSnapshotter(root)).close();
  });

  it('on a mount point, and behind a link, is taken as any other', async () => {
    const root = await freshRoot();
    await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'own-test', root], { deadlineMs });
    onTestFinished(async () => {
      await run('umount', [root], { deadlineMs });
    });
    await symlink(root, `${root}.link`);
    await (await openSnapshotter(`${root}.link`)).close();
    expect(await readdir(root)).toContain(marker);
  });

  it('of another user is refused, marked or not, and stays as it is', async () => {
    for (const marked of [false, true]) {
      const root = await freshRoot();
      if (marked) await writeFile(join(root, marker), '');
      await chown(root, 65534, 65534);
      const before = await stateOf(root);
      await expect(openSnapshotter(root)).rejects.toMatchObject({
        ...refused,
        message: `the root ${root} belongs to user 65534, and this is user 0`,
      });
      expect(await stateOf(root)).toEqual(before);
    }
  });

  it("of ours whose metadata.db became another program's is refused and stays byte for byte", async () => {
    const root = await freshRoot();
    await (await openSnapshotter(root)).close();
    await rm(join(root, 'metadata.db'), { recursive: true });
    await writeFile(join(root, 'metadata.db'), boltDatabase());
    const before = await stateOf(root);
    await expect(openSnapshotter(root)).rejects.toMatchObject(refused);
    expect(await stateOf(root)).toEqual(before);
  });

  /** A root as a release without the marker left it. */
  async function unmarked(world: InProcessWorld): Promise<void> {
    await world.snapshotter.close();
    for (const path of await readdir(world.root, { recursive: true })) {
      if (path.endsWith(marker)) await rm(join(world.root, path));
    }
  }

  it.each<[string, (root: string) => Promise<unknown>]>([
    ['recognised by its LevelDB', () => Promise.resolve()],
    ['recognised by its records, where LevelDB is lost', (root) => rm(join(root, 'metadata.db'), { recursive: true })],
    ['recognised by its records, where LevelDB is damaged', (root) => overwriteAll(join(root, 'metadata.db'))],
  ])('of a release without the marker is %s, and marked with its folders', async (_how, damage) => {
    const world = await makeInProcessWorld();
    await makeChain(world.snapshotter);
    const infos = await world.port.list();
    const mounts = await world.port.mounts('old');
    await unmarked(world);
    await damage(world.root);
    await world.reopen();
    try {
      expect(await world.port.list()).toEqual(infos);
      expect(await world.port.mounts('old')).toEqual(mounts);
      expect(await readdir(world.root)).toContain(marker);
      for (const id of await readdir(join(world.root, 'snapshots'))) {
        expect(await readdir(join(world.root, 'snapshots', id))).toContain(marker);
      }
    } finally {
      await world.close();
    }
  });

  it('without a snapshot, of a release without the marker, is recognised by its LevelDB', async () => {
    const world = await makeInProcessWorld();
    await unmarked(world);
    await world.reopen();
    expect(await readdir(world.root)).toContain(marker);
    await world.close();
  });

  it('of ours loses the leftovers that are marked, and keeps and names all else', async () => {
    const root = await freshRoot();
    await (await openSnapshotter(root)).close();
    const folder = (id: number) => join(root, 'snapshots', String(id));
    for (const id of [90, 91]) {
      await mkdir(join(folder(id), 'fs'), { recursive: true });
      await writeFile(join(folder(id), '.erofslayer'), '');
    }
    await writeFile(join(folder(90), marker), '');
    await mkdir(join(root, 'trash', '77-0'));
    await mkdir(join(root, 'trash', 'of somebody'));
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    const snapshotter = await openSnapshotter(root, { log });
    await snapshotter.cleanup();
    await portOf(snapshotter).prepare('extract-next');
    await snapshotter.close();
    expect((await readdir(join(root, 'snapshots'))).sort()).toEqual(['91', '92']);
    expect(await readdir(folder(91))).toEqual(['.erofslayer', 'fs']);
    expect(await readdir(join(root, 'trash'))).toEqual(['of somebody']);
    expect(lines.join('')).toContain(folder(91));
    expect(lines.join('')).toContain('of somebody');
  });
});

async function overwriteAll(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await writeFile(join(folder, name), Buffer.alloc(4096, 0x5a));
}
