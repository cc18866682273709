import fc from 'fast-check';
import { archive, bytes, entry, gnuLong, header, type Header, magics, padded, pax, paxText } from './tar-bytes.js';

/** A layer of headers that are unusual, damaged or at odds with each other, on a sound one; oldest first. */
export interface OddImage {
  readonly layers: readonly [Buffer, Buffer];
  /** What was put together, for a person. */
  [fc.toStringMethod](): string;
}

/** Something that stands in a tar, and how a person would call it. */
interface Part {
  readonly bytes: Buffer;
  readonly said: string;
}

const time = 1_234_567_890;

/** Ways to write a number into a field of `width` bytes; some of them say another number, some none at all. */
function spellings(value: number, width: number): readonly string[] {
  const digits = value.toString(8);
  const binary = (lead: number, tail: string) =>
    String.fromCharCode(lead) + tail.padStart(width - 1, lead === 0xff ? '\xff' : '\0').slice(-(width - 1));
  return [
    `${digits.padStart(width - 1, '0')}\0`,
    `${digits.padStart(width - 1, '0')} `,
    `${digits.padStart(width - 2, '0')} \0`,
    digits.padStart(width, '0'),
    `${digits}\0`,
    `${digits.padStart(width - 1)}\0`,
    ` ${digits}\0`,
    binary(0x80, String.fromCharCode(value >> 8, value & 0xff)),
    binary(0x80, '\x01\0\0\0\0\x05'),
    binary(0xff, '\xff'),
    binary(0xff, ''),
    '\0'.repeat(width),
    ' '.repeat(width),
    `\0${digits}`,
    `${digits}x`,
    '9'.repeat(width - 1),
    `-${digits}\0`,
    `+${digits}\0`,
    '7'.repeat(width),
    'garbage!'.slice(0, width),
  ];
}

const numbers = {
  mode: [0o640, 8],
  uid: [77, 8],
  gid: [88, 8],
  mtime: [time, 12],
  major: [1, 8],
  minor: [3, 8],
} as const;

/** At most one odd field, most of the time none, so that each has its say. */
const fields: fc.Arbitrary<Partial<Header>> = fc
  .array(
    fc.constantFrom(...(Object.keys(numbers) as (keyof typeof numbers)[])).chain((name) => {
      const [value, width] = numbers[name];
      return fc.constantFrom(...spellings(value, width)).map((text) => [name, text] as const);
    }),
    { maxLength: 1 },
  )
  .map((pairs) => Object.fromEntries(pairs));

const format: fc.Arbitrary<Partial<Header>> = fc.constantFrom<Partial<Header>>(
  { magic: magics.ustar },
  { magic: magics.ustar },
  { magic: magics.gnu },
  { magic: magics.v7 },
  { magic: magics.ustar, raw: { 508: 'tar\0' } },
  { magic: magics.ustar, prefix: 'd' },
  { magic: magics.ustar, prefix: '/d/' },
  { magic: magics.ustar, prefix: 'd', raw: { 476: `${time.toString(8)}\0${time.toString(8)}\0`, 508: 'tar\0' } },
  // GNU's times of access and change stand where ustar has its prefix.
  { magic: magics.gnu, prefix: `${time.toString(8)}\0${time.toString(8)}\0` },
  { magic: magics.gnu, prefix: 'neither' },
  { magic: magics.v7, prefix: 'd' },
  { magic: 'ustar\0\0\0' },
  { magic: 'ustar\x0001', prefix: 'd' },
  { raw: { 265: 'a user that is as long as its field.', 297: '\xff\xfe\xfd' } },
  { raw: { 500: 'rubbish' } },
);

const shape = fc.constantFrom<Partial<Header> & { readonly data?: string }>(
  { type: '0', data: 'content' },
  { type: '0', data: 'content' },
  { type: '0', data: 'c'.repeat(1025) },
  { type: '\0', data: 'old' },
  { type: '5' },
  { type: '5', size: 5 },
  { type: '2', link: 'nowhere' },
  { type: '2', link: '' },
  { type: '1', link: 'd/keep' },
  { type: '1', link: './first' },
  { type: '1', link: '/first' },
  { type: '1', link: 'first', size: 3 },
  { type: '6' },
  { type: '3', major: 1, minor: 3 },
  { type: '4', major: 7, minor: 0 },
  ...['V', 'S', 'X', '\xff'].map((type) => ({ type })),
);

const name = fc.constantFrom(
  ...['one', 'one', 'two', 'd/three', 'd/new/four', './five', '/six', 'd//seven', 'd/./eight', 'd/../nine', 'one/'],
  ...[
    '../ten',
    '.',
    './',
    '/',
    '',
    '..',
    'e\xff',
    'n'.repeat(100),
    'd/.wh.keep',
    '.wh.other',
    'd/.wh..wh..opq',
    '.wh.',
    '.wh..',
  ],
  ...['one', 'two', 'd/new/five', 'seven/', '.wh...', 'd/.wh..wh.plnk', '.wh..wh.aufs', 'no\0more'],
);

const paxTime = fc.constantFrom(
  ...[
    '5',
    '5.',
    '5.5',
    '5.1234567891',
    '05.050',
    '-5.5',
    '.5',
    '',
    '-',
    'x',
    '1e3',
    '+5',
    ' 5',
    '5 ',
    '99999999999999999999',
  ],
  ...['8589934592', '5.x', '0x5', '5,5'],
);

const paxRecord: fc.Arbitrary<readonly [string, string]> = fc.oneof(
  fc.tuple(fc.constant('path'), fc.oneof(name, fc.constant('l'.repeat(150)), fc.constant('d/\xc3\xbc'))),
  fc.tuple(fc.constant('linkpath'), fc.constantFrom('first', 'd/keep', '', '/', 'l'.repeat(150))),
  fc.tuple(fc.constantFrom('mtime', 'mtime', 'atime', 'ctime'), paxTime),
  fc.tuple(
    fc.constantFrom('uid', 'gid'),
    fc.constantFrom('5', '', '-1', '4294967294', '4294967295', '4294967301', 'x', '05', '1.5'),
  ),
  fc.tuple(fc.constant('size'), fc.constantFrom('', '7', '007', '-1', 'x')),
  fc.tuple(
    fc.constantFrom('uname', 'gname', 'comment', 'charset', 'hdrcharset'),
    fc.constantFrom('', 'root', 'BINARY', '\xff'),
  ),
  fc.tuple(
    fc
      .constantFrom(
        ...[
          'user.a',
          'user.a',
          'user.',
          'user',
          '',
          'other.x',
          'security.note',
          'trusted.overlay.opaque',
          'user.overlay.opaque',
        ],
        ...['system.x', 'trusted.note', `user.${'n'.repeat(250)}`, `user.${'n'.repeat(251)}`, 'user.a=b'],
      )
      .map((key) => `SCHILY.xattr.${key}`),
    fc.oneof(
      fc.constantFrom('v', '', '\0\xff', 'a=b\n'),
      fc.integer({ min: 1000, max: 5000 }).map((size) => 'v'.repeat(size)),
    ),
  ),
  fc.tuple(
    fc.constantFrom('LIBARCHIVE.xattr.user.a', 'LIBARCHIVE.creationtime', 'RHT.security.selinux'),
    fc.constant('dmFsdWU='),
  ),
  fc.tuple(
    fc.constantFrom('GNU.sparse.major', 'GNU.sparse.size', 'SCHILY.realsize', 'SCHILY.dev', 'VENDOR.key', 'mode'),
    fc.constantFrom('1', ''),
  ),
);

/** Texts of extended headers that say their records in unusual ways, or not at all. */
const paxOddity = fc.constantFrom(
  '',
  '\0',
  '11 mtime=5\n'.replace('11', '011'),
  '+11 mtime=5\n',
  '11 mtime=5\n\0\0\0',
  '10 mtime=5\n',
  '12 mtime=5\n',
  '11 mtime=5',
  '11 mtime 5\n',
  '9 =value\n',
  '7 a=b\n',
  '6 a=b\n6 a=c\n',
  '0 a=b\n',
  '-6 a=b\n',
  '99999999999999999999 a=b\n',
  '6\ta=b\n',
  '8 p\0th=x\n',
  '13 path=a\0b.c\n',
  '\n',
  '11 mtime=5\n11 mtime=6\n',
);

const extension: fc.Arbitrary<Part> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.array(paxRecord, { minLength: 1, maxLength: 3 }).map((records) => ({
      bytes: pax(records),
      said: `x ${JSON.stringify(records.map(([key, value]) => [key, value.slice(0, 60)]))}`,
    })),
  },
  { weight: 2, arbitrary: paxOddity.map((text) => ({ bytes: paxText(text), said: `x ${JSON.stringify(text)}` })) },
  {
    weight: 2,
    arbitrary: fc
      .oneof(name, fc.constant('L'.repeat(150)))
      .map((text) => ({ bytes: gnuLong('L', text), said: `L ${text}` })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('first', 'd/keep', 'K'.repeat(150), '')
      .map((text) => ({ bytes: gnuLong('K', text), said: `K ${text}` })),
  },
  {
    weight: 1,
    arbitrary: fc.array(paxRecord, { minLength: 1, maxLength: 2 }).map((records) => ({
      bytes: pax(records, 'g'),
      said: `g ${JSON.stringify(records.map(([key, value]) => [key, value.slice(0, 60)]))}`,
    })),
  },
);

const extensions: fc.Arbitrary<readonly Part[]> = fc.oneof(
  { weight: 5, arbitrary: fc.constant([]) },
  { weight: 3, arbitrary: fc.array(extension, { minLength: 1, maxLength: 1 }) },
  { weight: 2, arbitrary: fc.array(extension, { minLength: 2, maxLength: 3 }) },
);

/** A sparse file in the PAX formats 0.1 and 1.0 of GNU tar: a map, and the pieces that are no hole. */
const sparse: fc.Arbitrary<Part> = fc
  .record({
    start: fc.constantFrom(0, 512, 70_000),
    length: fc.constantFrom(1, 700),
    size: fc.constantFrom(1, 71_000, 200_000),
  })
  .chain(({ start, length, size }) =>
    fc.constantFrom('0.1', '1.0').map((version): Part => {
      const piece = 's'.repeat(length);
      const common: [string, string][] = [['GNU.sparse.name', 'sparse']];
      if (version === '0.1') {
        const records: [string, string][] = [
          ['GNU.sparse.size', String(size)],
          ['GNU.sparse.numblocks', '1'],
          ['GNU.sparse.map', `${start},${length}`],
        ];
        const said = `sparse ${version} ${start}+${length} of ${size}`;
        return { bytes: Buffer.concat([pax([...records, ...common]), entry({ name: 's' }, piece)]), said };
      }
      const map = padded(`1\n${start}\n${length}\n`).toString('latin1');
      const records: [string, string][] = [
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.minor', '0'],
        ['GNU.sparse.realsize', String(size)],
      ];
      const said = `sparse ${version} ${start}+${length} of ${size}`;
      return { bytes: Buffer.concat([pax([...common, ...records]), entry({ name: 's' }, map + piece)]), said };
    }),
  );

const headers: fc.Arbitrary<Part> = fc
  .record({ name, shape, format, fields, extensions })
  .map(({ name, shape, format, fields, extensions }) => {
    const { data = '', ...given } = shape;
    const [mode, uid, gid, mtime] = [0o640, 77, 88, time];
    const raw = { ...format.raw };
    const all: Header = { mode, uid, gid, mtime, size: data.length, ...given, ...format, ...fields, raw, name };
    const said = JSON.stringify({ name, ...given, ...format, ...fields, data: data.length });
    return {
      bytes: Buffer.concat([...extensions.map((part) => part.bytes), header(all), padded(data)]),
      said: [...extensions.map((part) => part.said), said].join(' '),
    };
  });

const part = fc.oneof({ weight: 12, arbitrary: headers }, { weight: 1, arbitrary: sparse });

const ending = fc.constantFrom<Part>(
  ...Array.from({ length: 8 }, () => ({ bytes: Buffer.alloc(1024), said: 'two zero blocks' })),
  { bytes: Buffer.alloc(0), said: 'no end' },
  { bytes: Buffer.alloc(512), said: 'one zero block' },
  { bytes: Buffer.alloc(20_480), said: 'many zero blocks' },
  { bytes: Buffer.concat([Buffer.alloc(1024), bytes('rubbish')]), said: 'rubbish after the end' },
  { bytes: Buffer.concat([Buffer.alloc(1024), entry({ name: 'late' }, 'x')]), said: 'an entry after the end' },
  {
    bytes: Buffer.concat([Buffer.alloc(512), entry({ name: 'late' }, 'x'), Buffer.alloc(1024)]),
    said: 'a zero block between',
  },
  { bytes: bytes('cut'), said: 'a cut header' },
);

const below = archive(
  entry({ name: 'd/', type: '5', mode: 0o755, mtime: time }),
  entry({ name: 'd/keep', mtime: time }, 'kept'),
  entry({ name: 'other', mtime: time }, 'kept too'),
);

const first: Part = { bytes: entry({ name: 'first', mtime: time }, 'first'), said: 'first' };
const folder: Part = { bytes: entry({ name: 'd/', type: '5', mode: 0o711, mtime: time }), said: 'd/' };
const last: Part = { bytes: entry({ name: 'last', mtime: time }, 'last'), said: 'last' };

/** Each has a sound entry before the odd ones and one behind them, which shows whether they were passed over rightly. */
export const oddImage: fc.Arbitrary<OddImage> = fc
  .record({ parts: fc.array(part, { minLength: 1, maxLength: 2 }), ending })
  .map(({ parts, ending }) => {
    const all = [first, folder, ...parts, last, ending];
    return {
      layers: [below, Buffer.concat(all.map((one) => one.bytes))],
      [fc.toStringMethod]: () => all.map((one) => `\n  ${one.said}`).join(''),
    };
  });
