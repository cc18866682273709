import { lstat, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { convertTar } from '../../src/erofs/index.js';
import { getXattr } from '../../src/host/index.js';
import { deadlineMs, mounted } from '../erofs/images.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { canonical } from './canonical.js';
import { gnuLong, paxHeader, tar, tarEntry, tarHeader, withChecksum, type Entry } from './tar-builder.js';

const uuid = '00000000-0000-4000-8000-000000000000';

/** What the kernel shows of a layer's image, a line for each name below its root: type, mode, owner, path and what it holds. */
async function shown(layer: Buffer): Promise<string[]> {
  const lines: string[] = [];
  await list(await mountedTree(layer), '', lines);
  return lines;
}

async function mountedTree(layer: Buffer): Promise<string> {
  const folder = await temporaryFolder();
  const [file, output] = [join(folder, 'tar'), join(folder, 'image')];
  const { bytes, implied } = canonical(layer);
  await writeFile(file, bytes);
  await convertTar({ tar: file, implied, output, uuid, deadlineMs });
  return mounted(folder, output);
}

async function list(root: string, above: string, lines: string[]): Promise<void> {
  for (const name of (await readdir(join(root, above))).sort()) {
    const path = join(above, name);
    const stat = await lstat(join(root, path));
    const line = (type: string, more = '') => {
      const mode = (stat.mode & 0o7777).toString(8);
      lines.push(`${type} ${mode} ${stat.uid}:${stat.gid} ${path.replace(/(.)\1{50,}/g, '$1…')}${more}`);
    };
    if (stat.isSymbolicLink()) line('l', ` -> ${await readlink(join(root, path))}`);
    else if (stat.isFile()) line('f', ` ${await readFile(join(root, path), 'utf8')}${stat.nlink > 1 ? ' linked' : ''}`);
    else if (stat.isCharacterDevice() && stat.rdev === 0) lines.push(`whiteout ${path.replace(/(.)\1{50,}/g, '$1…')}`);
    else if (!stat.isDirectory()) line(stat.isFIFO() ? 'p' : 'device');
    else {
      line('d', getXattr(join(root, path), 'trusted.overlay.opaque') ? ' opaque' : '');
      await list(root, path, lines);
    }
  }
}

const file = (name: string, data = '1', more: Partial<Entry> = {}): Entry => ({ name, data, ...more });
const folder = (name: string, more: Partial<Entry> = {}): Entry => ({ name: `${name}/`, type: '5', ...more });
const symlink = (name: string, link: string): Entry => ({ name, type: '2', link, mode: 0o777 });
const hardLink = (name: string, link: string, more: Partial<Entry> = {}): Entry => ({ name, type: '1', link, ...more });
const gone = (name: string, more: Partial<Entry> = {}): Entry => ({ name, mode: 0, ...more });

/** Raw headers, then what `tar` makes of the entries. */
const after = (headers: readonly Buffer[], ...entries: readonly Entry[]) =>
  Buffer.concat([...headers, tar(...entries)]);

function raw(entry: Entry, change: (header: Buffer) => void): Buffer {
  const bytes = tarEntry(entry);
  change(bytes);
  withChecksum(bytes.subarray(0, 512));
  return bytes;
}

const blank = (start: number, length: number) => (header: Buffer) => void header.fill(0, start, start + length);
const gnuHeader = (header: Buffer) => void header.write('ustar  \0', 257, 'latin1');

/** A long name whose body holds a whole header, behind a pax header that states another size. */
function smuggled(): Buffer {
  const body = Buffer.concat([
    Buffer.alloc(100, 'n'),
    Buffer.alloc(412),
    tarEntry(file('hidden', 'evil', { mode: 0o4755 })),
  ]);
  const longName = Buffer.concat([tarHeader({ name: '././@LongLink', type: 'L' }, body.length), body]);
  const data = Buffer.alloc(512);
  data.fill('d', 0, 100);
  return Buffer.concat([
    paxHeader({ size: '100' }),
    longName,
    tarHeader({ name: 'short' }, 100),
    data,
    tar(file('last')),
  ]);
}

const sparse = (pax: Record<string, string>, data: string) =>
  tar(file('GNUSparseFile.0/sp', data, { pax: { 'GNU.sparse.name': 'sp', ...pax } }));
const sparseMap = '2\n2\n3\n8\n1\n'.padEnd(512, '\0');

const cases: Readonly<Record<string, readonly [layer: Buffer, expected: readonly string[]]>> = {
  'a whiteout of the longest name (case 02)': [
    tar(folder('d'), file('short', '', { pax: { path: `d/.wh.${'n'.repeat(255)}` } })),
    ['d 755 0:0 d', 'whiteout d/n…'],
  ],
  'a pax size before a long name (case 04)': [smuggled(), [`f 644 0:0 last 1`, `f 644 0:0 n… ${'d'.repeat(100)}`]],
  'a long name and a pax path (case 06)': [
    after([gnuLong('L', 'x'.repeat(120)), paxHeader({ path: 'd/.wh.keep' })], file('short')),
    ['f 644 0:0 x… 1'],
  ],
  'a pax path and a long name': [
    after([paxHeader({ path: 'other' }), gnuLong('L', 'long')], file('short')),
    ['f 644 0:0 long 1'],
  ],
  'a long target and a pax one': [
    after([gnuLong('K', 'gnu'), paxHeader({ linkpath: 'pax' })], symlink('l', 'ustar')),
    ['l 777 0:0 l -> gnu'],
  ],
  'two extended headers': [
    after([paxHeader({ path: 'first', uid: '5' }), paxHeader({ gid: '6' })], file('name')),
    ['f 644 0:6 name 1'],
  ],
  'a path that is the root, or none': [
    tar(file('a', '1', { pax: { path: '/' } }), file('b', '2', { pax: { path: '' } })),
    ['f 644 0:0 b 2'],
  ],
  'folders named like whiteouts (case 07)': [
    tar(file('.wh.foo/bar', '2'), file('.wh..wh.plnk/1.2', 'h')),
    ['d 755 0:0 .wh..wh.plnk', 'f 644 0:0 .wh..wh.plnk/1.2 h', 'd 755 0:0 .wh.foo', 'f 644 0:0 .wh.foo/bar 2'],
  ],
  'a folder with a long name in the place of a link (case 09)': [
    after([tarEntry(symlink('a', '/x')), gnuLong('L', 'a/')], folder('a'), file('a/f')),
    ['d 755 0:0 a opaque', 'f 644 0:0 a/f 1'],
  ],
  'links that state a size (case 12)': [
    tar(file('f', 'data'), hardLink('g', 'f', { size: 4 }), { ...symlink('l', 'f'), size: 1 }),
    ['f 644 0:0 f data linked', 'f 644 0:0 g data linked', 'l 777 0:0 l -> f'],
  ],
  'entries below links (case 13)': [
    tar(
      symlink('a', '/b'),
      gone('a/.wh.a'),
      folder('usr'),
      folder('usr/lib'),
      symlink('lib', 'usr/lib'),
      file('lib/x'),
    ),
    [
      'l 777 0:0 a -> /b',
      'd 755 0:0 b',
      'whiteout b/a',
      'l 777 0:0 lib -> usr/lib',
      'd 755 0:0 usr',
      'd 755 0:0 usr/lib',
      'f 644 0:0 usr/lib/x 1',
    ],
  ],
  'links that lead upwards and through each other': [
    tar(folder('d'), symlink('d/up', '../../../e'), symlink('e', 'd/./f'), file('d/up/x')),
    ['d 755 0:0 d', 'd 755 0:0 d/f', 'f 644 0:0 d/f/x 1', 'l 777 0:0 d/up -> ../../../e', 'l 777 0:0 e -> d/./f'],
  ],
  'blank numbers and the star format (case 15)': [
    Buffer.concat([
      raw(file('a'), blank(108, 16)),
      raw(file('b'), blank(136, 12)),
      raw(file('c'), blank(100, 8)),
      raw(file('d'), blank(329, 16)),
      raw(file('e'), (header) => void header.write('tar\0', 508)),
      tar(file('f', '1', { pax: { mtime: '1700000000.' } })),
    ]),
    ['f 644 0:0 a 1', 'f 644 0:0 b 1', 'f 0 0:0 c 1', 'f 644 0:0 d 1', 'f 644 0:0 e 1', 'f 644 0:0 f 1'],
  ],
  'owners of -1 (case 16)': [
    tar(file('a', '1', { uid: -1 }), folder('dd', { uid: 7 }), folder('dd', { uid: -1, gid: 8 })),
    ['f 644 0:0 a 1', 'd 755 7:8 dd'],
  ],
  'the root as a hard link (case 18)': [
    tar(folder('.'), hardLink('/', '.'), symlink('link', 'nowhere')),
    ['l 777 0:0 link -> nowhere'],
  ],
  'modes of links (case 21)': [tar({ ...symlink('l', 'x'), mode: 0o755 }), ['l 777 0:0 l -> x']],
  'empty pax values (case 22)': [
    tar(file('a', '1', { uid: 3, pax: { mtime: '', uid: '', size: '', path: '' } })),
    ['f 644 3:0 a 1'],
  ],
  'records in unusual form': [
    after([tarEntry({ name: 'p', type: 'x', data: '0012 path=b\n+9 uid=9\n' })], file('a')),
    ['f 644 9:0 b 1'],
  ],
  'headers of 1979': [
    Buffer.concat([raw({ name: 'd/', type: '\0' }, blank(257, 8)), tar({ ...file('d/f'), type: '\0' })]),
    ['d 644 0:0 d', 'f 644 0:0 d/f 1'],
  ],
  'GNU headers with times': [
    Buffer.concat([
      raw(file('a'), (header) => {
        gnuHeader(header);
        header.write('14000000000', 345);
      }),
      tar(),
    ]),
    ['f 644 0:0 a 1'],
  ],
  'a sparse file of format 0.0': [
    Buffer.concat([
      tarEntry({
        name: 'p',
        type: 'x',
        data: [
          '22 GNU.sparse.size=10\n',
          '26 GNU.sparse.numblocks=2\n',
          '23 GNU.sparse.offset=2\n',
          '25 GNU.sparse.numbytes=3\n',
          '23 GNU.sparse.offset=8\n',
          '25 GNU.sparse.numbytes=1\n',
        ].join(''),
      }),
      tar(file('sp', 'abcd')),
    ]),
    ['f 644 0:0 sp \0\0abc\0\0\0d\0'],
  ],
  'a sparse file of format 0.1': [
    sparse({ 'GNU.sparse.size': '10', 'GNU.sparse.numblocks': '2', 'GNU.sparse.map': '2,3,8,1' }, 'abcd'),
    ['f 644 0:0 sp \0\0abc\0\0\0d\0'],
  ],
  'a sparse file of format 1.0': [
    sparse({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '10' }, `${sparseMap}abcd`),
    ['f 644 0:0 sp \0\0abc\0\0\0d\0'],
  ],
  'whiteouts with content, as links and as folders': [
    tar(
      gone('.wh.a', { data: 'x' }),
      hardLink('.wh.b', 'nowhere'),
      symlink('.wh.c', 'x'),
      folder('.wh.d'),
      gone('.wh..wh.plnk'),
    ),
    ['whiteout .wh.plnk', 'whiteout a', 'whiteout b', 'whiteout c', 'whiteout d'],
  ],
  'an opaque folder whose mark has content': [
    tar(folder('d', { mode: 0o700 }), gone('d/.wh..wh..opq', { data: 'x' }), file('d/f')),
    ['d 700 0:0 d opaque', 'f 644 0:0 d/f 1'],
  ],
  'a whiteout of a name that comes later': [
    tar(gone('.wh.f'), file('f'), gone('.wh.d'), folder('d'), gone('.wh.i'), file('i/f')),
    ['d 755 0:0 d opaque', 'f 644 0:0 f 1', 'd 755 0:0 i opaque', 'f 644 0:0 i/f 1'],
  ],
  'a whiteout of a name that came before': [
    tar(file('f'), gone('.wh.f'), folder('d'), file('d/f'), gone('.wh.d'), file('i/f'), gone('.wh.i')),
    ['d 755 0:0 d opaque', 'f 644 0:0 d/f 1', 'f 644 0:0 f 1', 'd 755 0:0 i opaque', 'f 644 0:0 i/f 1'],
  ],
  'a folder that was replaced and made again': [
    tar(folder('d'), file('d/old'), file('d', 'x'), folder('d', { mode: 0o711 }), file('d/new')),
    ['d 711 0:0 d opaque', 'f 644 0:0 d/new 1'],
  ],
  'a folder twice, with what is in it': [
    tar(folder('d', { uid: 1 }), file('d/f'), folder('d', { mode: 0o700 })),
    ['d 700 0:0 d', 'f 644 0:0 d/f 1'],
  ],
  'a file in the place of a folder, a link and a file': [
    tar(
      folder('d'),
      file('d/x'),
      file('d', 'a'),
      symlink('l', 'd'),
      file('l', 'b'),
      file('f', 'old'),
      file('f', 'new'),
    ),
    ['f 644 0:0 d a', 'f 644 0:0 f new', 'f 644 0:0 l b'],
  ],
  'hard links: their attributes are the file’s, and they outlive its name': [
    tar(
      file('f', 'old', { mode: 0o4755 }),
      hardLink('g', 'f', { mode: 0o600, uid: 5 }),
      file('f', 'new'),
      symlink('s', 'x'),
      hardLink('t', 's'),
    ),
    ['f 644 0:0 f new', 'f 600 5:0 g old', 'l 777 0:0 s -> x', 'l 777 0:0 t -> x'],
  ],
  'a global header, which says nothing of what comes after it': [
    Buffer.concat([paxHeader({ uid: '7', path: 'g' }, 'g'), tar(file('a'))]),
    ['f 644 0:0 a 1'],
  ],
};

const withMachine = requires('root', 'loop', 'erofs', 'mkfs.erofs');

withMachine('a layer has one reading', () => {
  it.each(Object.entries(cases))('%s', async (_title, [layer, expected]) => {
    expect((await shown(layer)).sort()).toEqual([...expected].sort());
  });

  it('extended attributes: those that Linux keeps, and none that overlayfs would believe', async () => {
    const keys = ['user.a', 'trusted.a', 'security.a', 'trusted.overlay.opaque', 'trusted.overlay.overlay.opaque'];
    const others = ['user.overlay.opaque', 'unknown.a', 'trusted.'];
    const pax = (holder: string) =>
      Object.fromEntries([...keys, ...others].map((key) => [`SCHILY.xattr.${key}`, `${holder}=\n\0`]));
    const root = await mountedTree(
      tar(
        folder('d', { pax: { ...pax('d'), 'LIBARCHIVE.xattr.user.b': 'eA==' } }),
        file('d/f', 'x', { pax: { ...pax('f'), 'SCHILY.xattr.user.empty': '' } }),
        { ...symlink('d/l', 'x'), pax: pax('l') },
        folder('d', { pax: { 'SCHILY.xattr.user.a': 'later', 'SCHILY.xattr.user.c': 'more' } }),
      ),
    );
    const value = (path: string, key: string) => {
      const bytes = getXattr(join(root, path), key);
      return bytes === undefined ? undefined : Buffer.from(bytes).toString();
    };
    const of = (path: string) => [...keys, ...others.slice(0, 2)].map((key) => value(path, key));
    const none = undefined;
    expect(of('d')).toEqual(['later', 'd=\n\0', 'd=\n\0', none, 'd=\n\0', 'd=\n\0', none]);
    expect(of('d/f')).toEqual(['f=\n\0', 'f=\n\0', 'f=\n\0', none, 'f=\n\0', 'f=\n\0', none]);
    expect(value('d', 'user.c')).toBe('more');
    expect(value('d', 'user.b')).toBe(none);
    expect(value('d/f', 'user.empty')).toBe('');
  });
});
