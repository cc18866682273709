import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../src/host/index.js';
import { pino } from 'pino';
import { makeInProcessWorld, openSnapshotter, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';
import { commitFolder, makeChain } from './crash-operations.js';
import { fakeMkfs } from './fake-mkfs.js';

/** Collects what is logged as a warning or worse. */
function listeningLogger() {
  const lines: string[] = [];
  return { lines, log: pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) }) };
}

async function temporaries(root: string): Promise<string[]> {
  return (await readdir(root, { recursive: true })).filter((path) => path.includes('.tmp-'));
}

requires(
  'mkfs.erofs',
  'mkfs.ext4',
  'loop',
  'ext4',
)('a tool that does not do its work', () => {
  let world: InProcessWorld;
  const { lines, log } = listeningLogger();
  beforeEach(async () => {
    world = await makeInProcessWorld({ log, conversionTimeoutMs: 1500 });
    await makeChain(world.snapshotter);
    lines.length = 0;
  });
  afterEach(async () => {
    expect(await temporaries(world.root)).toEqual([]);
    await world.close();
  });

  describe('at Commit: a clear error, no layer, and the next Commit works', () => {
    it.each([
      ['fails', 'echo "it broke" >&2; exit 1', 'internal', 'it broke'],
      ['hangs', 'exec sleep 60', 'deadline-exceeded', '1.5 s'],
      ['hangs and does not listen to SIGTERM', 'trap "" TERM; sleep 60 & wait; sleep 60', 'deadline-exceeded', '1.5 s'],
      ['says it is done and writes nothing', 'exit 0', 'internal', 'no usable image'],
      ['says it is done and writes zeros', 'head -c 8192 /dev/zero > "$output"', 'internal', 'no usable image'],
      ['says it is done and writes half', 'real "$@" && truncate -s 4096 "$output"', 'internal', 'no usable image'],
      [
        'writes an image with another UUID',
        'real --quiet "$output" "$(dirname "$output")/fs"',
        'internal',
        'no usable image',
      ],
      [
        'finds the disk full',
        'echo "write failed: No space left on device" >&2; exit 1',
        'resource-exhausted',
        'bytes are free',
      ],
      ['is killed', 'kill -KILL $$', 'internal', 'SIGKILL'],
    ])('it %s', async (_title, script, code, says) => {
      const [bind] = await world.port.prepare('extract-a');
      await writeFile(join(bind!.source, 'file'), 'content');
      const { calls } = await fakeMkfs(`first || { real "$@"; exit; }; ${script}`);
      const error: unknown = await world.port.commit('name', 'extract-a').catch((cause: unknown) => cause);
      expect(error).toMatchObject({ code });
      expect((error as Error).message).toContain(says);
      expect((await readdir(join(bind!.source, '..'))).sort()).toEqual([
        '.erofs-snapshotter-leveldb',
        '.erofslayer',
        'fs',
        'snapshot.json',
      ]);
      expect(await world.port.list('name==name')).toEqual([]);
      await world.port.commit('name', 'extract-a');
      expect(await calls()).toHaveLength(2);
    });
  });

  describe('at a merge: what it will always say leads to one disk a layer, with a warning', () => {
    it.each([
      ['refuses the layers', 'echo "unsupported layout" >&2; exit 1', 'unsupported layout'],
      ['crashes', 'kill -SEGV $$', 'SIGSEGV'],
      ['makes something else', 'head -c 8192 /dev/zero > "$output"', 'no usable image'],
      ['makes an image of other layers', 'for last; do :; done; cp "$last" "$output"', 'no usable image'],
    ])('it %s', async (_title, script, cause) => {
      await fakeMkfs(`[ -z "$merging" ] && { real "$@"; exit; }; ${script}`);
      const mounts = await world.port.prepare('box', 'c3');
      expect(mounts.map(({ type }) => type)).toEqual(['erofs', 'erofs', 'erofs', 'ext4']);
      expect(lines.join('')).toContain(cause);
      // Invariant 2: decided once. The tool works again, and the answer stays.
      process.env['PATH'] = (process.env['PATH'] ?? '').split(':').slice(1).join(':');
      expect((await world.port.prepare('other', 'c3'))[0]?.type).toBe('format/erofs');
      await world.reopen();
      expect(await world.port.mounts('box')).toEqual(mounts);
    });
  });

  describe('at a merge: what may pass fails the call, and decides nothing', () => {
    it.each([
      ['hangs', 'exec sleep 60', 'deadline-exceeded'],
      ['finds the disk full', 'echo "No space left on device" >&2; exit 1', 'resource-exhausted'],
      ['is killed from outside', 'kill -KILL $$', 'internal'],
    ])('it %s', async (_title, script, code) => {
      await fakeMkfs(`first || { real "$@"; exit; }; ${script}`);
      await expect(world.port.prepare('box', 'c3')).rejects.toMatchObject({ code });
      expect(await world.port.list('name==box')).toEqual([]);
      expect((await world.port.prepare('box', 'c3'))[0]?.type).toBe('format/erofs');
    });

    it('it is not installed any more', async () => {
      const path = process.env['PATH'] ?? '';
      process.env['PATH'] = '/nonexistent';
      try {
        await expect(world.port.view('look', 'c3')).rejects.toMatchObject({ code: 'unavailable' });
      } finally {
        process.env['PATH'] = path;
      }
      expect((await world.port.view('look', 'c3'))[0]?.type).toBe('format/erofs');
    });
  });

  it('a tool that is too old to merge is not asked to, and the warning names the version that is needed', async () => {
    const { calls } = await fakeMkfs('real "$@"');
    await world.close();
    world = await makeInProcessWorld({ log, tools: { version: '1.8.10', canMerge: false } });
    await makeChain(world.snapshotter);
    const before = (await calls()).length;
    const mounts = await world.port.view('look', 'c3');
    expect(mounts.map(({ type }) => type)).toEqual(['erofs', 'erofs', 'erofs']);
    expect((await calls()).length).toBe(before);
    expect(lines.join('')).toContain('1.9.3');
  });

  it('a merged image that does not fit its chain is made again, the same bytes', async () => {
    const [image] = await world.port.view('look', 'c3');
    const folder = join(image!.source, '..');
    const { stdout } = await run('sha256sum', [image!.source], { deadlineMs: 10_000 });
    const elsewhere = (await world.port.mounts('old'))[0]!.source;
    await run('cp', [elsewhere, image!.source], { deadlineMs: 10_000 });
    await world.reopen();
    await world.port.view('look-2', 'c3');
    expect((await run('sha256sum', [image!.source], { deadlineMs: 10_000 })).stdout).toBe(stdout);
    expect(lines.join('')).toContain('does not fit its chain');
    const manifest = await readFile(join(folder, 'layers.manifest'), 'utf8');
    await writeFile(join(folder, 'layers.manifest'), 'blob:other.erofs\n');
    await world.reopen();
    await world.port.view('look-3', 'c3');
    expect(await readFile(join(folder, 'layers.manifest'), 'utf8')).toBe(manifest);
  });
});

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.erofs',
  'mkfs.ext4',
)('a full disk', () => {
  it('is RESOURCE_EXHAUSTED wherever it is met, never a fallback, and all goes on when there is space again', async () => {
    const outer = await makeInProcessWorld();
    const folder = join(outer.root, '..');
    const [disk, root] = [join(folder, 'disk.img'), join(folder, 'small')];
    await run('truncate', ['-s', '24M', disk], { deadlineMs: 10_000 });
    await run('mkfs.ext4', ['-q', '-m', '0', disk], { deadlineMs: 10_000 });
    await run('mkdir', [root], { deadlineMs: 10_000 });
    await run('mount', ['-o', 'loop', disk, root], { deadlineMs: 10_000 });
    try {
      const snapshotter = await openSnapshotter(join(root, 'root'), { defaultSize: 8 * 1024 * 1024 });
      try {
        await makeChain(snapshotter);
        await snapshotter.prepare({ key: 'extract-a', parent: '', labels: {} });
        const filler = join(root, 'filler');
        await run('sh', ['-c', `head -c 100M /dev/urandom > '${filler}'; true`], { deadlineMs: 60_000 });
        const full = { code: 'resource-exhausted' };
        await expect(snapshotter.prepare({ key: 'box', parent: 'c3', labels: {} })).rejects.toMatchObject(full);
        await expect(snapshotter.view({ key: 'look', parent: 'c3', labels: {} })).rejects.toMatchObject(full);
        const commit = { name: 'name', key: 'extract-a', parent: '', labels: {} };
        await expect(snapshotter.commit(commit)).rejects.toMatchObject(full);
        expect((await temporaries(root)).filter((path) => !path.includes('trash'))).toEqual([]);
        await run('rm', [filler], { deadlineMs: 10_000 });
        const mounts = await snapshotter.prepare({ key: 'box', parent: 'c3', labels: {} });
        expect(mounts[0]?.type).toBe('format/erofs');
        await snapshotter.commit(commit);
        await commitFolder(snapshotter, 'after', 'c3', (upper) => writeFile(join(upper, 'x'), 'x'));
      } finally {
        await snapshotter.close();
      }
    } finally {
      await run('umount', [root], { deadlineMs: 10_000 });
      await outer.close();
    }
  });
});
