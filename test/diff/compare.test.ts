import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { inParts } from '../../src/diff/compare/compress.js';
import { HardLinks } from '../../src/diff/compare/hard-links.js';
import { writtenMediaType } from '../../src/diff/compare/media-type.js';
import { major, minor, type ComparedNode } from '../../src/diff/compare/node.js';
import { endOfArchive } from '../../src/diff/tar/writer.js';
import { encodeLayerEntry, padding, type LayerEntry } from '../../src/diff/compare/tar-entry.js';
import { temporaryFolder } from '../host/temporary.js';
import { canonical } from './canonical.js';
import { paxHeader } from './tar-builder.js';

const plain: LayerEntry = {
  path: Buffer.from('a'),
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeNs: 1_700_000_000_000_000_000n,
  size: 0,
};
/** What the extended header of an entry says; empty without one. */
const extended = (more: Partial<LayerEntry>): string => {
  const bytes = encodeLayerEntry({ ...plain, ...more });
  return bytes.length === 512 ? '' : bytes.subarray(512, -512).toString('latin1').replace(/\0+$/, '');
};

describe('an entry of a layer', () => {
  it('needs an extended header only for what the plain one has no room for', () => {
    expect(extended({})).toBe('');
    expect(extended({ path: Buffer.alloc(100, 'n') })).toBe('');
    expect(extended({ path: Buffer.alloc(101, 'n') })).toBe(`111 path=${'n'.repeat(101)}\n`);
    expect(extended({ type: 'directory', path: Buffer.alloc(100, 'n') })).toBe(`111 path=${'n'.repeat(100)}/\n`);
    expect(extended({ type: 'symlink', link: Buffer.alloc(101, 't') })).toBe(`115 linkpath=${'t'.repeat(101)}\n`);
    expect(extended({ uid: 0o7777777, gid: 0o7777777 })).toBe('');
    expect(extended({ uid: 0o10000000, gid: 4_294_967_294 })).toBe('18 gid=4294967294\n15 uid=2097152\n');
    expect(extended({ size: 8 * 2 ** 30 - 1 })).toBe('');
    expect(extended({ size: 8 * 2 ** 30 })).toBe('19 size=8589934592\n');
  });

  it.each([
    [0n, ''],
    [-1_000_000_000n, '12 mtime=-1\n'],
    [-250_000_000n, '15 mtime=-0.25\n'],
    [-1_500_000_000n, '14 mtime=-1.5\n'],
    [1_600_000_000_123_456_789n, '30 mtime=1600000000.123456789\n'],
    [5_000_000n, '15 mtime=0.005\n'],
    [8_589_934_592_000_000_000n, '20 mtime=8589934592\n'],
  ])('has its time to the nanosecond: %s', (mtimeNs, records) => {
    expect(extended({ mtimeNs })).toBe(records);
  });

  it('keeps attributes as bytes, sorted by name, and counts the digits of their length', () => {
    const binary = Buffer.from([0, 10, 61, 255]);
    const xattrs = [
      ['user.b', binary],
      ['user.a', Buffer.alloc(0)],
      ['user.c', Buffer.alloc(72, 'v')],
    ] as const;
    const expected = paxHeader({
      'SCHILY.xattr.user.a': '',
      'SCHILY.xattr.user.b': binary,
      'SCHILY.xattr.user.c': 'v'.repeat(72),
    });
    expect(extended({ xattrs })).toBe(expected.subarray(512).toString('latin1').replace(/\0+$/, ''));
  });

  it('refuses an attribute whose name no reader would find again', () => {
    const encode = () => encodeLayerEntry({ ...plain, xattrs: [['user.a=b', Buffer.alloc(1)]] });
    expect(encode).toThrow(/user\.a=b.*no layer can hold/);
  });

  it('is what Apply accepts', () => {
    const link = Buffer.from('a');
    const xattrs = [['security.capability', Buffer.alloc(20)]] as const;
    const tar = [
      { ...plain, path: Buffer.from('.'), type: 'directory' },
      { ...plain, uid: 3_000_000_000, mtimeNs: -1n, xattrs },
      { ...plain, path: Buffer.from([0xff, 0xe9]), type: 'hard link', link },
      { ...plain, path: Buffer.from('c'), type: 'block device', device: { major: 259, minor: 1_048_575 } },
    ] as const;
    const { bytes } = canonical(Buffer.concat([...tar.map(encodeLayerEntry), endOfArchive]));
    expect(bytes.toString('latin1')).toContain('\xff\xe9');
  });

  it('of more than 8 GiB is listed by GNU tar with its size', async () => {
    const size = 9 * 2 ** 30 + 5;
    const path = join(await temporaryFolder(), 'big.tar');
    const file = await open(path, 'w');
    const header = encodeLayerEntry({ ...plain, size });
    await file.write(header, 0, header.length, 0);
    const end = header.length + size + padding(size).length;
    await file.write(endOfArchive, 0, endOfArchive.length, end);
    await file.close();
    const { stdout } = await promisify(execFile)('tar', ['--list', '--verbose', '--file', path]);
    expect(stdout).toMatch(/ 9663676421 .* a\n$/);
  });
});

it('takes the numbers of a device apart as Linux does', () => {
  const rdev = (1n << 44n) | (0x103n << 8n) | (0xfffn << 20n) | 0x7n;
  expect([major(rdev), minor(rdev)]).toEqual([0x1103, 0xfff07]);
});

it('writes gzip when no media type is named, and leaves foreign ones to the next differ', () => {
  const gzip = 'application/vnd.oci.image.layer.v1.tar+gzip';
  expect(writtenMediaType('')).toEqual({ mediaType: gzip, compression: 'gzip' });
  expect(writtenMediaType('application/vnd.docker.image.rootfs.diff.tar')).toMatchObject({ compression: 'none' });
  for (const mediaType of ['application/vnd.erofs.layer.v1', 'text/plain', `${gzip}+encrypted`]) {
    expect(() => writtenMediaType(mediaType)).toThrow(expect.objectContaining({ code: 'not-mine' }));
  }
});

it('joins small parts and cuts large ones, so that each step has as much to do', async () => {
  const given = async function* () {
    for (const size of [1, 2, 700, 0, 5]) yield await Promise.resolve(Buffer.alloc(size, size));
  };
  const parts: number[] = [];
  const all: Uint8Array[] = [];
  for await (const part of inParts(given(), 256)) {
    parts.push(part.length);
    all.push(part);
  }
  expect(parts).toEqual([256, 256, 196]);
  expect(Buffer.concat(all)).toEqual(Buffer.concat([1, 2, 700, 5].map((size) => Buffer.alloc(size, size))));
});

describe('names of one file', () => {
  const node = (ino: number, nlink: number) =>
    ({
      stat: { dev: 1n, ino: BigInt(ino), nlink: BigInt(nlink), isDirectory: () => false },
    }) as unknown as ComparedNode;
  const regrouped = (...files: readonly [string, ComparedNode | undefined, ComparedNode][]) => {
    const links = new HardLinks();
    for (const file of files) links.add(...file);
    return [...links.regrouped()];
  };

  it.each([
    [
      'stay together',
      [],
      [
        ['a', node(1, 2), node(9, 2)],
        ['b', node(1, 2), node(9, 2)],
      ],
    ],
    [
      'are separated',
      ['a', 'b'],
      [
        ['a', node(1, 2), node(8, 1)],
        ['b', node(1, 2), node(9, 1)],
      ],
    ],
    [
      'are joined',
      ['a', 'b'],
      [
        ['a', node(1, 1), node(9, 2)],
        ['b', node(2, 1), node(9, 2)],
      ],
    ],
    [
      'get one more',
      ['a', 'b'],
      [
        ['a', node(1, 1), node(9, 2)],
        ['b', undefined, node(9, 2)],
      ],
    ],
    ['lose one, which is gone', [], [['a', node(1, 2), node(9, 1)]]],
  ] as const)('that %s', (_what, expected, files) => {
    expect(regrouped(...(files as unknown as [string, ComparedNode | undefined, ComparedNode][]))).toEqual(expected);
  });
});
