import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { compressionOf } from '../../src/diff/compression.js';
import { tar, withChecksum } from './tar-builder.js';

const hex = (text: string) => Buffer.from(text, 'hex');
/** A tar whose first name begins with these bytes. */
const named = (magic: string) => {
  const bytes = tar({ name: 'a name of a file', data: 'x' });
  hex(magic).copy(bytes);
  withChecksum(bytes.subarray(0, 512));
  return bytes;
};

const refused = 'invalid-argument';
const contents = {
  'a tar': tar({ name: 'file', data: 'x' }),
  gzip: gzipSync(Buffer.alloc(100_000)),
  'a zstd frame': Buffer.concat([hex('28b52ffd'), Buffer.alloc(600, 1)]),
  'a skippable zstd frame': hex('5f2a4d180400000000000000'),
  nothing: Buffer.alloc(0),
  'the end of an archive': Buffer.alloc(1024),
  'a tar named like gzip': named('1f8b08'),
  'a tar named like zstd': named('28b52ffd'),
  noise: Buffer.alloc(512, 'noise'),
  'a few letters': Buffer.from('hi'),
  'half a magic number': hex('1f8b'),
};

describe('the compression of a layer is told by its bytes, whatever its media type says', () => {
  it.each([
    // said to be            plain   gzip    zstd
    ['a tar', 'none', 'none', 'none'],
    ['gzip', 'gzip', 'gzip', 'gzip'],
    ['a zstd frame', 'zstd', 'zstd', 'zstd'],
    ['a skippable zstd frame', 'zstd', 'zstd', 'zstd'],
    ['nothing', 'none', 'none', 'none'],
    ['the end of an archive', 'none', 'none', 'none'],
    ['a tar named like gzip', 'none', 'gzip', 'gzip'],
    ['a tar named like zstd', 'none', 'zstd', 'zstd'],
    ['noise', 'none', refused, refused],
    ['a few letters', 'none', refused, refused],
    ['half a magic number', 'none', refused, refused],
  ] as const)('%s', (title, ...expected) => {
    const found = (['none', 'gzip', 'zstd'] as const).map((labelled) => {
      try {
        return compressionOf(contents[title].subarray(0, 512), labelled);
      } catch (error) {
        return (error as { code: string }).code;
      }
    });
    expect(found).toEqual(expected);
  });
});
