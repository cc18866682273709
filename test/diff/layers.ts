import { endOfArchive, gnuLong, paxHeader, tar, tarEntry, tarHeader, withChecksum, type Entry } from './tar-builder.js';

const file = (name: string, data: Uint8Array | string = 'x', more: Partial<Entry> = {}): Entry => ({
  name,
  data,
  ...more,
});
const sound = tar({ name: 'd/', type: '5' }, file('d/a', 'hello'));
const headerAndData = sound.subarray(0, 3 * 512);

function changed(bytes: Buffer, change: (header: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  withChecksum(copy.subarray(0, 512));
  return copy;
}

/** Well-formed tars, usual and unusual: each must be converted. */
export const soundTars: Readonly<Record<string, Buffer>> = {
  'a folder and a file': sound,
  'no bytes at all': Buffer.alloc(0),
  'the two blocks that end an archive, alone': endOfArchive,
  'ten kibibytes of zeros': Buffer.alloc(10_240),
  'no blocks that end it': headerAndData,
  'one of the two blocks that end it': sound.subarray(0, 4 * 512),
  'anything after its end': Buffer.concat([sound, Buffer.alloc(1000, 0x41)]),
  'the same name twice': tar(file('a', 'one'), file('a', 'two')),
  'a file that replaces a folder': tar({ name: 'a/', type: '5' }, file('a/b'), file('a', 'file')),
  'an absolute name': tar({ name: '/d/', type: '5' }, file('/d/file')),
  'a name with . and doubled slashes': tar({ name: './d/', type: '5' }, file('./d//.//file')),
  'a global comment': Buffer.concat([paxHeader({ comment: 'built by hand' }, 'g'), tar(file('a'))]),
  'a GNU long name': Buffer.concat([gnuLong('L', 'n'.repeat(200)), tar(file('short'))]),
  'a contiguous file': tar({ name: 'a', type: '7', data: 'x' }),
  'a base-256 size': changed(tar(file('a', 'hello')), (header) => {
    header.fill(0, 124, 136);
    header.writeUInt8(0x80, 124);
    header.writeUInt8(5, 135);
  }),
  'an end inside the padding of a file': tar(file('a', 'hello')).subarray(0, 517),
  'a folder with a size': tar({ name: 'd/', type: '5', size: 3 }, file('d/z')),
  'a hard link with a size': tar(file('a', 'hello'), { name: 'l', type: '1', link: 'a', size: 5 }, file('z')),
  'a file for a root': tar(file('./'), file('a')),
  'a name that goes up and down': tar(file('b/../a')),
  'a file of a type before 1988': tar({ name: 'q', type: '\0', data: 'abc' }),
  'a header without magic': changed(sound, (header) => header.fill(0, 257, 265)),
  'a sparse file of a version that nothing reads': tar(file('sp', 'abc', { pax: { 'GNU.sparse.major': '1' } })),
  'a GNU incremental dump': changed(tar(file('a')), (header) => {
    header.write('ustar  \0', 257, 'latin1');
    header.write('14000000000', 345);
  }),
  'a global header that renames': Buffer.concat([paxHeader({ path: 'all' }, 'g'), sound]),
  'nonsense in an extended header that another one replaces': Buffer.concat([
    paxHeader({ mtime: 'soon', size: 'x' }),
    paxHeader({ mtime: '5' }),
    tar(file('a')),
  ]),
  'nonsense in a global header': Buffer.concat([paxHeader({ uid: '1.5', mtime: 'x' }, 'g'), tar(file('a'))]),
  'a file of a type before 1988 whose name ends in a slash, so that it is a folder and has no data': tar(
    { name: 'q/', type: '\0', size: 512 },
    file('a'),
  ),
  "a user's attribute without a name, on a link": tar({
    name: 'l',
    type: '2',
    link: 'a',
    pax: { 'SCHILY.xattr.user.': 'v' },
  }),
  'owners of -1': tar(file('a', 'x', { uid: -1 }), file('b', 'x', { pax: { uid: '-1', gid: '4294967295' } })),
  'an opaque whiteout with content': tar(file('d/.wh..wh..opq', 'x'), file('kept')),
  'a value of 65,535 bytes': tar(file('a', 'x', { pax: { 'SCHILY.xattr.user.big': 'v'.repeat(65_535) } })),
};

/** Tars that must be refused, and what the message must say. */
export const brokenTars: Readonly<Record<string, readonly [bytes: Buffer, message: RegExp]>> = {
  'bytes that are no tar': [Buffer.alloc(4096, 0x5a), /byte 0: .*wrong checksum/],
  'a changed header': [changed(sound, () => undefined).fill(0x41, 10, 11), /byte 0: .*wrong checksum/],
  'text after an entry': [
    Buffer.concat([headerAndData, Buffer.alloc(512, 0x41), endOfArchive]),
    /byte 1536: .*checksum/,
  ],
  'an end inside the first header': [sound.subarray(0, 300), /ends inside the entry/],
  'an end inside a later header': [sound.subarray(0, 512 + 300), /byte 812: the tar ends inside the entry/],
  'an end inside a file': [
    tar(file('a', Buffer.alloc(100_000, 7))).subarray(0, 50_000),
    /ends inside the entry that begins at byte 0/,
  ],
  'an end after an extended header': [paxHeader({ path: 'a' }), /ends inside the entry/],
  'an extended header of no entry': [Buffer.concat([paxHeader({ path: 'a' }), endOfArchive]), /belongs to no entry/],
  'an entry after a lone zero block': [Buffer.concat([headerAndData, Buffer.alloc(512), sound]), /lone zero block/],
  'a size that is no number': [changed(sound, (header) => header.write('zzzzzzzzzzz', 124)), /not an octal number/],
  'a negative size': [tar({ name: 'a', size: -5 }), /states a size of -5/],
  'an extended size that is negative': [tar(file('a', 'hello', { pax: { size: '-1' } })), /states a size of -1/],
  'an extended size that is no number': [tar(file('a', 'hello', { pax: { size: '1e3' } })), /not a whole number/],
  'an owner of -2': [tar(file('a', 'x', { uid: -2 })), /owner -2 is one that no file can have/],
  'an owner that is no number': [changed(sound, (header) => header.write('root', 108)), /owner .* not an octal number/],
  'a device number that is no number': [
    changed(sound, (header) => header.write('zz', 329)),
    /device number .* not an octal number/,
  ],
  'a device with too large a number': [tar({ name: 'n', type: '3', major: 4096, minor: 1 }), /number 4096:1/],
  'a hard link to nothing': [tar({ name: 'l', type: '1', link: 'a' }), /"l" is to "a", which is not in this layer/],
  'a hard link to a folder': [
    tar({ name: 'd/', type: '5' }, { name: 'l', type: '1', link: 'd' }),
    /"l" is to "d", which is a folder/,
  ],
  'a hard link to itself': [tar(file('a'), { name: 'a', type: '1', link: 'a' }), /not in this layer before it/],
  'a name below a file': [tar(file('a'), file('a/b')), /"a" leads through something that is no folder/],
  'links in a circle': [
    tar({ name: 'a', type: '2', link: 'b' }, { name: 'b', type: '2', link: 'a' }, file('a/c')),
    /leads through too many links/,
  ],
  'extended headers without end': [Buffer.concat(Array<Buffer>(100).fill(paxHeader({ path: 'a' }))), /more than 8/],
  'a size beyond the end': [tar({ name: 'a', size: 2 ** 40 }), /ends inside the entry/],
  'an extended size beyond the end': [tar(file('a', 'hello', { pax: { size: '500000' } })), /ends inside the entry/],
  'a name that leads out': [tar(file('../evil')), /"..\/evil" leads upwards/],
  'a name that leads out later': [tar(file('a/../../evil')), /leads upwards/],
  'an extended name that leads out': [tar(file('short', 'x', { pax: { path: '../../evil' } })), /leads upwards/],
  'a long name that leads out': [Buffer.concat([gnuLong('L', '../evil'), tar(file('short'))]), /leads upwards/],
  'a hard link that leads out': [tar(file('a'), { name: 'l', type: '1', link: '../a' }), /leads upwards/],
  'a path 10,000 deep': [tar(file('s', 'x', { pax: { path: Array(10_000).fill('d').join('/') } })), /19999 bytes long/],
  'a name of 256 bytes': [tar(file('s', 'x', { pax: { path: 'n'.repeat(256) } })), /256 bytes long/],
  'a zero byte in a name': [tar(file('s', 'x', { pax: { path: 'a\0b' } })), /zero byte/],
  'a symbolic link of 4096 bytes': [
    tar({ name: 'l', type: '2', pax: { linkpath: 'n'.repeat(4096) } }),
    /4096 bytes long/,
  ],
  'a symbolic link to nothing': [tar({ name: 'l', type: '2' }), /0 bytes long/],
  'an unknown type': [tar({ name: 'q', type: 'Q', data: 'abc' }), /unknown type "Q"/],
  'a GNU sparse file': [tar({ name: 'sp', type: 'S', data: 'abc' }), /sparse file/],
  'an extended header that is no records': [
    Buffer.concat([tarEntry({ name: 'p', type: 'x', data: 'garbage' }), sound]),
    /is not "<length>/,
  ],
  'a record longer than its header': [
    Buffer.concat([tarEntry({ name: 'p', type: 'x', data: '999 path=a\n' }), sound]),
    /is not "<length>/,
  ],
  'an extended header of 8 GiB': [tarHeader({ name: 'p', type: 'x' }, 2 ** 33), /8589934592 bytes long/],
  'a time that is no number': [tar(file('a', 'x', { pax: { mtime: 'abc' } })), /mtime "abc"/],
  'an owner beyond 32 bits': [tar(file('a', 'x', { pax: { uid: '4294967296' } })), /owner 4294967296 is one/],
  'an attribute of 65,536 bytes': [
    tar(file('a', 'x', { pax: { 'SCHILY.xattr.user.big': 'v'.repeat(65_536) } })),
    /EROFS holds 65535/,
  ],
  'attributes of 300,000 bytes': [
    tar(
      file('a', 'x', {
        pax: Object.fromEntries([0, 1, 2, 3, 4].map((n) => [`SCHILY.xattr.user.${n}`, 'v'.repeat(60_000)])),
      }),
    ),
    /bytes of extended attributes/,
  ],
  'an attribute with a name of 256 bytes': [
    tar(file('a', 'x', { pax: { [`SCHILY.xattr.user.${'n'.repeat(251)}`]: 'v' } })),
    /not 1 to 255 bytes/,
  ],
  'a whiteout of nothing': [tar(file('.wh.', '')), /removes nothing/],
  'a whiteout of the folder itself': [tar({ name: 'd/', type: '5' }, file('d/.wh..', '')), /removes nothing/],
  'a whiteout of the folder above': [tar({ name: 'd/', type: '5' }, file('d/.wh...', '')), /removes nothing/],
  'an opaque root': [tar(file('.wh..wh..opq', '')), /everything below the root/],
};
