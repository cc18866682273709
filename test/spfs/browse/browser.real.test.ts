import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Browser, bytesOf, printableName } from '../../../src/spfs/browse/index.js';
import type { Mount } from '../../../src/vocabulary.js';
import { directory, file, inOrder, makeLayer, mergeInto, mounted, type Entry } from '../../erofs/images.js';
import { requires } from '../../harness/requires.js';
import { temporaryFolder } from '../../host/temporary.js';

const symlink = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname });
const device = (name: string, devmajor: number, devminor: number): Entry => ({
  name,
  type: 'character-device',
  devmajor,
  devminor,
});

const large = Buffer.from(Array.from({ length: 3_000_001 }, (_, index) => (index * 7 + (index >> 8)) % 256));

const lower: readonly Entry[] = [
  directory('.'),
  directory('bin'),
  file('bin/tool', 'the lower tool\n', { mode: 0o4755, uid: 7, gid: 70000 }),
  file('gone', 'hidden by the upper layer\n'),
  file('only-below', 'from below\n'),
  file('hard', 'two names\n'),
  { name: 'hard-too', type: 'link', linkname: 'hard' },
  directory('opaque'),
  file('opaque/old', 'hidden\n'),
  { name: 'large', content: large },
];

const upper: readonly Entry[] = [
  directory('.'),
  directory('bin'),
  file('bin/tool', 'the upper tool\n', { mode: 0o755, mtime: new Date('2024-02-29T12:00:00Z') }),
  file('.wh.gone', ''),
  directory('opaque'),
  file('opaque/.wh..wh..opq', ''),
  file('opaque/new', 'seen\n'),
  symlink('link', 'bin/tool'),
  symlink('links', 'link'),
  symlink('dir-link', './bin//'),
  symlink('bin/up', '../only-below'),
  symlink('bin/up-too-far', '../../only-below'),
  symlink('below', '/spfs/only-below'),
  symlink('out', '/etc/passwd'),
  symlink('loop', 'loop2'),
  symlink('loop2', 'loop'),
  symlink('dangling', 'nowhere'),
  symlink('long-link', `${'./'.repeat(2000)}only-below`),
  device('console', 5, 1),
  { name: 'pipe', type: 'fifo' },
  directory('Grüße 日本'),
  file('Grüße 日本/new\nline', 'odd\n'),
  file('empty', ''),
];

requires(
  'root',
  'loop',
  'erofs',
  'mkfs.erofs',
)('browsing', () => {
  let folder: string;
  let layers: string[];
  let single: Browser;
  let merged: Browser;
  let merges: Mount;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    layers = [await makeLayer(folder, 'lower', lower), await makeLayer(folder, 'upper', upper)];
    const source = join(folder, 'fsmeta.erofs');
    await mergeInto(source, inOrder(...layers));
    merges = { type: 'format/erofs', source, target: '', options: ['ro', 'loop', ...layers.map((l) => `device=${l}`)] };
    merged = new Browser('stack', [merges]);
    single = new Browser('top', [{ type: 'erofs', source: layers[1]!, target: '', options: ['ro', 'loop'] }]);
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  const names = async (browser: Browser, path: string) =>
    (await browser.list(bytesOf(path))).map(({ name }) => printableName(name));

  async function cat(browser: Browser, ...paths: string[]): Promise<Buffer> {
    const output = join(await temporaryFolder(), 'output');
    const handle = await open(output, 'w');
    try {
      await browser.cat(paths.map(bytesOf), { output: handle.fd });
    } finally {
      await handle.close();
    }
    return readFile(output);
  }

  describe('ls', () => {
    it('shows the union of the layers: no whiteout, nothing that one hides', async () => {
      const root = await names(merged, '/');
      expect(root).toEqual([...root].sort((a, b) => (bytesOf(a) < bytesOf(b) ? -1 : 1)));
      expect(root).toContain('only-below');
      expect(root).not.toContain('gone');
      expect(root.join()).not.toContain('.wh.');
      expect(await names(merged, 'opaque')).toEqual(['new']);
    });

    it('shows of a layer alone what it adds, without its whiteouts', async () => {
      const root = await names(single, '');
      expect(root).not.toContain('gone');
      expect(root).not.toContain('only-below');
      expect(root).toContain('console');
      expect(await names(single, '/opaque')).toEqual(['new']);
    });

    it.each(['Grüße 日本', '/Grüße 日本/', '/spfs/Grüße 日本', './Grüße 日本/../Grüße 日本'])(
      'finds %s',
      async (path) => {
        expect(await names(merged, path)).toEqual(["$'new\\nline'"]);
      },
    );

    it('lists a file as itself, and follows a symlink to a directory', async () => {
      expect(await names(merged, 'bin/tool')).toEqual(['bin/tool']);
      expect(await names(merged, 'dir-link')).toEqual(['tool', 'up', 'up-too-far']);
    });

    it('tells what the kernel tells of every file', async () => {
      const target = await mounted(folder, merges.source, layers);
      const said = execFileSync(
        'find',
        [target, '-mindepth', '1', '-maxdepth', '1', '-printf', '%f\\t%m %U %G %s %n %T@ %y %l\\0'],
        {
          encoding: 'latin1',
        },
      );
      const kinds = { f: 'file', d: 'directory', l: 'symlink', p: 'fifo', c: 'character device' } as const;
      const expected = said
        .split('\0')
        .slice(0, -1)
        .map((line) => {
          const [name = '', rest = ''] = line.split('\t');
          const [mode = '', uid, gid, size, links, time = '', kind, link] = rest.split(' ');
          return [
            name,
            parseInt(mode, 8),
            Number(uid),
            Number(gid),
            Number(size),
            Number(links),
            parseInt(time),
            kinds[kind as 'f'],
            link,
          ];
        })
        .sort(([a], [b]) => (a! < b! ? -1 : 1));
      const listed = await merged.list('');
      expect(
        listed.map(({ name, file: f, target: link = '' }) => [
          name,
          f.mode,
          f.uid,
          f.gid,
          f.size,
          f.links,
          Number(f.mtime),
          f.kind,
          link,
        ]),
      ).toEqual(expected);
      expect(listed.length).toBeGreaterThan(15);
      expect(listed.find(({ name }) => name === 'console')?.file.device).toEqual({ major: 5, minor: 1 });
    });

    it('shows a setuid bit, an owner that needs a large number, and a time', async () => {
      const below = new Browser('low', [{ type: 'erofs', source: layers[0]!, target: '', options: [] }]);
      expect((await below.list('bin'))[0]?.file).toMatchObject({ mode: 0o4755, uid: 7, gid: 70000 });
      expect((await merged.list('bin/tool'))[0]?.file.mtime).toBe(BigInt(Date.parse('2024-02-29T12:00:00Z') / 1000));
    });

    it('reads a directory of many blocks', async () => {
      const many = Array.from({ length: 3000 }, (_, index) => file(`many/${'n'.repeat(40)}-${index}`, ''));
      const image = await makeLayer(folder, 'many', [directory('many'), ...many]);
      const browser = new Browser('many', [{ type: 'erofs', source: image, target: '', options: [] }]);
      expect(new Set(await names(browser, 'many'))).toEqual(
        new Set(many.map(({ name }) => name.slice('many/'.length))),
      );
      expect(await names(browser, `many/${'n'.repeat(40)}-2999`)).toHaveLength(1);
    });
  });

  describe('cat', () => {
    it.each([
      ['bin/tool', 'the upper tool\n'],
      ['only-below', 'from below\n'],
      ['link', 'the upper tool\n'],
      ['links', 'the upper tool\n'],
      ['dir-link/tool', 'the upper tool\n'],
      ['dir-link/../dir-link/tool', 'the upper tool\n'],
      ['bin/up', 'from below\n'],
      ['below', 'from below\n'],
      ['long-link', 'from below\n'],
      ['hard-too', 'two names\n'],
      ['Grüße 日本/new\nline', 'odd\n'],
      ['empty', ''],
    ])('%s', async (path, content) => {
      expect((await cat(merged, path)).toString()).toBe(content);
    });

    it('writes a file of many blocks whole, and one after another', async () => {
      const both = Buffer.concat([large, Buffer.from('from below\n')]);
      expect((await cat(merged, 'large', 'only-below')).equals(both)).toBe(true);
    });

    it.each([
      ['nope', 'not-found', 'stack has no nope: there is no /nope'],
      ['bin/nope/more', 'not-found', 'stack has no bin/nope/more: there is no /bin/nope'],
      ['bin/tool/more', 'not-found', 'stack has no bin/tool/more: /bin/tool is a file and no directory'],
      ['bin/tool/', 'not-found', 'stack has no bin/tool/: /bin/tool is a file and no directory'],
      ['../etc/passwd', 'not-found', 'stack has no ../etc/passwd: it leads out of /spfs'],
      ['bin/up-too-far', 'not-found', 'stack has no bin/up-too-far: it leads out of /spfs'],
      ['out', 'not-found', 'stack has no out: the symlink /out leads out of /spfs, to /etc/passwd'],
      ['loop', 'not-found', /leads to itself/],
      ['dangling', 'not-found', 'stack has no dangling: there is no /nowhere'],
      ['gone', 'not-found', 'stack has no gone: there is no /gone'],
      ['opaque/old', 'not-found', 'stack has no opaque/old: there is no /opaque/old'],
      ['bin', 'failed-precondition', 'bin in stack is a directory and no file'],
      ['console', 'failed-precondition', 'console in stack is a character device and no file'],
      ['pipe', 'failed-precondition', 'pipe in stack is a fifo and no file'],
    ])('%s is refused', async (path, code, message) => {
      await expect(cat(merged, path)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
    });

    it('writes nothing when one of the files is not there', async () => {
      const output = join(await temporaryFolder(), 'output');
      const handle = await open(output, 'w');
      await expect(merged.cat(['only-below', 'nope'], { output: handle.fd })).rejects.toMatchObject({
        code: 'not-found',
      });
      await handle.close();
      expect(await readFile(output, 'utf8')).toBe('');
    });

    it('does not take a layer that is cut off for a short file', async () => {
      const image = await makeLayer(folder, 'cut', [{ name: 'large', content: large }]);
      const whole = await readFile(image);
      const browser = new Browser('cut', [{ type: 'erofs', source: image, target: '', options: [] }]);
      expect((await cat(browser, 'large')).equals(large)).toBe(true);
      writeFileSync(image, whole.subarray(0, whole.length - 1_000_000));
      await expect(cat(browser, 'large')).rejects.toMatchObject({ code: 'data-loss' });
    });
  });

  it('reads names that are no text', async () => {
    const source = join(folder, 'no-text');
    mkdirSync(source);
    writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x7a, 0xff])]), 'bytes\n');
    const image = join(folder, 'no-text.erofs');
    execFileSync('mkfs.erofs', ['--quiet', '-b4096', '-zlz4', image, source]);
    const browser = new Browser('bytes', [{ type: 'erofs', source: image, target: '', options: [] }]);
    expect(await names(browser, '/')).toEqual(["$'z\\xff'"]);
    const output = join(folder, 'no-text.output');
    const handle = await open(output, 'w');
    await browser.cat(['z\xff'], { output: handle.fd });
    await handle.close();
    expect(await readFile(output, 'utf8')).toBe('bytes\n');
  });
});

it('an empty stack has a root with nothing in it', async () => {
  const browser = new Browser('-', []);
  expect(await browser.list('/spfs')).toEqual([]);
  await expect(browser.list('bin')).rejects.toMatchObject({ code: 'not-found' });
  await expect(browser.cat(['/'], { output: 1 })).rejects.toMatchObject({ code: 'failed-precondition' });
});
