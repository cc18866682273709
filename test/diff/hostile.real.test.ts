import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import type { ErrorCode } from '../../src/errors.js';
import { requires } from '../harness/requires.js';
import { runsAll } from '../harness/share.js';
import { applyWorld, digestOf, gzip } from './apply-world.js';
import { endOfArchive, gnuLong, paxHeader, tar, tarEntry } from './tar-builder.js';

/** Layers of few bytes that ask for much work, and how each ends. Compressed, they are all small. */
const hostile: readonly (readonly [what: string, tar: () => Buffer, outcome: ErrorCode | 'converted'])[] = [
  [
    'extended headers without end',
    () => repeated(paxHeader({ comment: 'x'.repeat(400) }), 100_000),
    'invalid-argument',
  ],
  ['long names without end', () => repeated(gnuLong('L', 'n'.repeat(4000)), 20_000), 'invalid-argument'],
  ['global headers that say much', () => repeated(paxHeader(manyRecords(2_000), 'g'), 200), 'invalid-argument'],
  [
    'an extended header of many records before each of many entries',
    () => repeated(Buffer.concat([paxHeader(manyRecords(4_000)), tarEntry({ name: 'a' })]), 200),
    'invalid-argument',
  ],
  ['a folder 10,000 levels deep', () => deep(10_000), 'invalid-argument'],
  ['a folder as deep as a path can be', () => deep(2_000), 'converted'],
  ['entries through a chain of links', () => chained(runsAll ? 20_000 : 2_000), 'converted'],
  ['many entries', () => many(runsAll ? 1_000_000 : 50_000), 'converted'],
  ['a tar of zeros', () => Buffer.alloc(64 * 1024 * 1024), 'converted'],
];

function repeated(part: Buffer, times: number): Buffer {
  return Buffer.concat(Array<Buffer>(times).fill(part));
}

function manyRecords(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`comment${index}`, '']));
}

function deep(levels: number): Buffer {
  return Buffer.concat([paxHeader({ path: 'd/'.repeat(levels) }), tarEntry({ name: 'd', type: '5' }), endOfArchive]);
}

/** Each entry lies below links that lead to links. */
function chained(entries: number): Buffer {
  const links = Array.from({ length: 39 }, (_, index) =>
    tarEntry({ name: `l${index}`, type: '2', link: index === 0 ? 'd' : `l${index - 1}` }),
  );
  const below = Array.from({ length: entries }, (_, index) => tarEntry({ name: `l38/${index}` }));
  return Buffer.concat([tarEntry({ name: 'd', type: '5' }), ...links, ...below, endOfArchive]);
}

function many(entries: number): Buffer {
  const parts: Buffer[] = [];
  for (let index = 0; index < entries; index++) {
    if (index % 1000 === 0) parts.push(tarEntry({ name: `d${index / 1000}`, type: '5' }));
    parts.push(tarEntry({ name: `d${Math.floor(index / 1000)}/${index}` }));
  }
  return Buffer.concat([...parts, endOfArchive]);
}

requires('root', 'mkfs.erofs')('a layer that asks for much', () => {
  it.each(hostile)(
    '%s: ends, a sound layer beside it is converted, and nothing is left',
    async (_what, make, outcome) => {
      const layer = gzipSync(make(), { level: 1 });
      const [world, beside] = [await applyWorld(), await applyWorld()];
      const ending = world.apply(layer, { mediaType: gzip }).then(
        () => 'converted',
        (error: unknown) => (error as { code: ErrorCode }).code,
      );
      const sound = tar({ name: './', type: '5' }, { name: 'file', data: 'sound' });
      const { digest } = await beside.apply(gzipSync(sound), { mediaType: gzip });
      expect(digest).toBe(digestOf(sound));
      expect(await ending).toBe(outcome);
      expect(await world.leftovers()).toEqual(outcome === 'converted' ? ['layer.erofs'] : []);
    },
    300_000,
  );
});
