import { times } from '../harness/share.js';
import { archive, entry, gnuLong, header, type Header, magics, padded, pax, type PaxRecords } from './tar-bytes.js';

/** Layers that broke something once, here or in another program, as the public report beside it tells. */
export interface Case {
  readonly title: string;
  readonly source: string;
  /** Oldest first. */
  readonly layers: readonly Buffer[];
  /** Every path of the tree that a program sees, the root apart. */
  readonly paths: readonly string[];
  /** An archive as `docker save` once wrote it, whose layers containerd itself labels; else an OCI layout. */
  readonly dockerArchiveOf?: 'zstd';
}

const file = (name: string, data = 'x', more: Partial<Header> = {}) => entry({ name, ...more }, data);
const folder = (name: string, more: Partial<Header> = {}) =>
  entry({ name: `${name}/`, type: '5', mode: 0o755, ...more });
const symlink = (name: string, link: string, more: Partial<Header> = {}) =>
  entry({ name, type: '2', link, mode: 0o777, ...more });
const hardlink = (name: string, link: string, more: Partial<Header> = {}) => entry({ name, type: '1', link, ...more });
const extended = (records: PaxRecords, ...after: readonly Buffer[]) => Buffer.concat([pax(records), ...after]);

const [n100, n101, n252, n255] = ['n'.repeat(100), 'a'.repeat(101), 'm'.repeat(252), 'n'.repeat(255)];
const [x120, y120] = ['x'.repeat(120), 'y'.repeat(120)];

/** A long name whose block is larger than the size that a PAX header before it states, with a whole entry in the rest. */
const smuggled = (() => {
  const content = Buffer.concat([padded(n100), file('hidden', 'evil', { mode: 0o4755 })]).toString('latin1');
  return Buffer.concat([
    pax([['size', '100']]),
    entry({ name: '././@LongLink', type: 'L', magic: magics.gnu }, content),
    header({ name: 'short', size: 100 }),
    padded('d'.repeat(100)),
  ]);
})();

const manyNames = times(3_000, 50_000);
const many = Array.from({ length: manyNames }, (_, index) => `many/${String(index).padStart(6, '0')}`);

export const cases: readonly Case[] = [
  {
    title: 'a folder, then a link, then a folder, over three layers',
    source: 'bazelbuild/rules_pkg#948, GoogleContainerTools/kaniko#2308',
    layers: [
      archive(folder('opt'), folder('opt/app'), file('opt/app/secret', 's3cret')),
      archive(folder('opt'), symlink('opt/app', '/srv/app')),
      archive(folder('opt'), folder('opt/app'), file('opt/app/new', 'n')),
    ],
    paths: ['/opt', '/opt/app', '/opt/app/new'],
  },
  {
    title: 'a deleted name of 255 bytes, whose whiteout has 259',
    source: 'containers/fuse-overlayfs#236, #351',
    layers: [
      archive(
        folder('d'),
        extended([['path', `d/${n255}`]], file('d/n')),
        extended([['path', `d/${n252}`]], file('d/m')),
        file('d/keep'),
      ),
      archive(
        folder('d'),
        extended([['path', `d/.wh.${n255}`]], file('d/n', '')),
        extended([['path', `d/.wh.${n252}`]], file('d/m', '')),
      ),
    ],
    paths: ['/d', '/d/keep'],
  },
  {
    title: 'a PAX size before a long name belongs to the file',
    source: 'composefs/tar-rs#454 (GHSA-3cv2-h65g-fgmm), GHSA-3pv8-6f4r-ffg2',
    layers: [archive(smuggled, file('last', '1'))],
    paths: ['/last', `/${n100}`],
  },
  {
    title: 'a GNU long name and a PAX path: the GNU name is the file',
    source: 'composefs/tar-rs#454',
    layers: [
      archive(folder('d'), file('d/keep', '1')),
      archive(
        gnuLong('L', x120),
        extended([['path', 'd/.wh.keep']], file('one', '', { magic: magics.gnu })),
        gnuLong('L', y120),
        extended([['path', 'implied/folder/f']], file('two', '1', { magic: magics.gnu })),
      ),
    ],
    paths: ['/d', '/d/keep', `/${x120}`, `/${y120}`],
  },
  {
    title: 'folders whose names begin like whiteouts',
    source: 'moby/go-archive#54, containers/podman#3582',
    layers: [
      archive(folder('foo'), file('foo/x', '1')),
      archive(file('.wh.foo/bar', '2'), file('.wh..wh.plnk/1.2', 'h')),
    ],
    paths: ['/.wh..wh.plnk', '/.wh..wh.plnk/1.2', '/.wh.foo', '/.wh.foo/bar', '/foo', '/foo/x'],
  },
  {
    title: 'a link, then a folder of its name, of more than 100 bytes in GNU format',
    source: 'bazelbuild/rules_pkg#948',
    layers: [
      archive(
        extended([['path', n101]], symlink('l', '/x')),
        Buffer.concat([gnuLong('L', `${n101}/`), folder('d', { magic: magics.gnu })]),
        extended([['path', `${n101}/f`]], file('f', '1')),
      ),
    ],
    paths: [`/${n101}`, `/${n101}/f`],
  },
  {
    title: 'zstd layers of a Docker archive, which containerd labels as gzip',
    source: 'containerd/containerd#14160, #14190',
    layers: [archive(folder('a'), file('a/1', 'one'))],
    paths: ['/a', '/a/1'],
    dockerArchiveOf: 'zstd',
  },
  {
    title: 'links that state a size, and have no content',
    source: 'composefs/tar-rs#314',
    layers: [archive(file('f', 'data'), hardlink('g', 'f', { size: 4 }), symlink('l', 'f', { size: 1 }))],
    paths: ['/f', '/g', '/l'],
  },
  {
    title: 'entries and whiteouts below a link of their own layer',
    source: 'GoogleContainerTools/kaniko#2308, #1038',
    layers: [
      archive(folder('a'), file('a/a', '1'), folder('b'), folder('usr'), folder('usr/lib')),
      archive(
        symlink('a', '/b'),
        file('a/.wh.a', ''),
        folder('usr'),
        folder('usr/lib'),
        symlink('lib', 'usr/lib'),
        file('lib/x.so', 'elf'),
      ),
    ],
    paths: ['/a', '/b', '/lib', '/usr', '/usr/lib', '/usr/lib/x.so'],
  },
  ...(
    [
      ['owner and group', { uid: '\0'.repeat(8), gid: '\0'.repeat(8) }],
      ['time', { mtime: '\0'.repeat(12) }],
      ['mode', { mode: '\0'.repeat(8) }],
      ['device numbers', { major: '\0'.repeat(8), minor: '\0'.repeat(8) }],
      ["star's mark at the end", { raw: { 508: 'tar\0' } }],
    ] as const
  ).map(([what, fields]) => ({
    title: `a blank header field: ${what}`,
    source: 'found by changing headers at random; star and old embedded archivers write them',
    layers: [archive(file('a', '1', fields), file('z', '2'))],
    paths: ['/a', '/z'],
  })),
  {
    title: 'a PAX time that ends in its point',
    source: 'found by changing headers at random',
    layers: [archive(extended([['mtime', '1700000000.']], file('a', '1')))],
    paths: ['/a'],
  },
  {
    title: 'an owner of -1, which no file can have',
    source: 'found at random; archivers on Windows write -1 for owners they do not know',
    layers: [archive(file('a', '1', { uid: -1 }), folder('dd', { uid: -1 })), archive(file('b', '2'))],
    paths: ['/a', '/b', '/dd'],
  },
  {
    title: 'the root as a hard link',
    source: 'GoogleContainerTools/kaniko#1151',
    layers: [archive(folder('.'), hardlink('/', '.'), symlink('link', 'nowhere'))],
    paths: ['/link'],
  },
  {
    title: `${manyNames} names in one folder`,
    source: 'found at 50,000: mkfs.erofs looks names up in a list',
    layers: [
      archive(folder('many'), ...many.map((name) => file(name, ''))),
      archive(folder('many'), file('many/zzz', '1'), file('many/.wh.000001', '')),
    ],
    paths: ['/many', ...many.filter((name) => name !== 'many/000001').map((name) => `/${name}`), '/many/zzz'],
  },
  {
    title: 'the mode of symbolic links, which is 0777 whatever the tar says',
    source: 'archives made on macOS',
    layers: [archive(symlink('l', 'x', { mode: 0o755 }))],
    paths: ['/l'],
  },
  {
    title: 'empty PAX values, which take a record back',
    source: 'POSIX.1-2017, pax; erofs-utils 4102c47',
    layers: [
      archive(
        extended(
          [
            ['mtime', ''],
            ['uid', ''],
            ['size', ''],
          ],
          file('a', '1'),
        ),
      ),
    ],
    paths: ['/a'],
  },
];
