import { describe, expect, it } from 'vitest';
import { isCode } from '../../src/errors.js';
import { CanonicalTar } from '../../src/diff/tar/canonical.js';
import { TarReader } from '../../src/diff/tar/reader.js';
import { LayerTree } from '../../src/diff/tar/tree.js';
import { FirstPass } from '../../src/diff/tar/passes.js';
import { endOfArchive, tarEntry, type Entry } from './tar-builder.js';

const limits = { names: 300, bytes: 10_000, steps: 5_000 };

function read(entries: Iterable<Entry | Buffer>): void {
  const tree = new LayerTree(limits);
  const reader = new TarReader({
    entry: (entry) => {
      tree.take(entry);
      return false;
    },
    content: () => undefined,
    hole: () => undefined,
    ended: () => undefined,
  });
  for (const entry of entries) reader.push(Buffer.isBuffer(entry) ? entry : tarEntry(entry));
  reader.push(endOfArchive);
  reader.finish();
}

const times = <T>(count: number, entry: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => entry(i));
const link = (name: string, target: string): Entry => ({ name, type: '2', pax: { linkpath: target } });
const at = (path: string): Entry => ({ name: 'x', pax: { path } });
const elsewhere = (index: number): Entry => ({ name: `elsewhere/${index}` });

/** Layers that ask for more than they are allowed, and at which entry they are known to. */
const tooMuch: Readonly<Record<string, readonly [entries: () => readonly (Entry | Buffer)[], message: RegExp]>> = {
  'many names': [() => times(301, (i) => ({ name: `${i}` })), /more than 300 names/],
  'one name over and over': [() => times(301, () => ({ name: 'same' })), /more than 300 names/],
  'many names in one path': [() => [at('a/'.repeat(301))], /more than 300 names/],
  'many whiteouts': [() => times(301, (i) => ({ name: `.wh.${i}` })), /more than 300 names/],
  'long names': [() => times(41, (i) => at(`${i}`.padEnd(255, 'n'))), /more than 10000 bytes/],
  'long targets of links': [() => times(3, (i) => link(`${i}`, 't'.repeat(4095))), /more than 10000 bytes/],
  'attributes of one folder': [
    () => times(3, (i) => ({ name: 'd', type: '5', pax: { [`SCHILY.xattr.user.${i}`]: 'v'.repeat(4000) } })),
    /more than 10000 bytes/,
  ],
  'attributes of one hard link': [
    () => [
      { name: 'f' },
      ...times(3, (i) => ({
        name: `h${i}`,
        type: '1',
        link: 'f',
        pax: { [`SCHILY.xattr.user.${i}`]: 'v'.repeat(4000) },
      })),
    ],
    /more than 10000 bytes/,
  ],
  'deep paths in turns': [
    () => times(100, (i) => [at(`${'a/'.repeat(100)}${i}`), elsewhere(i)]).flat(),
    /paths are too long and too many/,
  ],
  'a long chain of links again and again': [
    () => [
      ...times(39, (i) => link(`l${i}`, `l${i + 1}`)),
      { name: 'l39', type: '5' },
      ...times(100, (i) => [at(`l0/${i}`), elsewhere(i)]).flat(),
    ],
    /paths are too long and too many/,
  ],
  'links whose targets take long to take apart': [
    () => [link('l', './'.repeat(2000)), ...times(10, (i) => [at(`${'l/'.repeat(100)}${i}`), elsewhere(i)]).flat()],
    /paths are too long and too many/,
  ],
  'hard links through such links': [
    () => [
      link('l', './'.repeat(2000)),
      { name: 'f' },
      ...times(10, (i) => ({ name: `h${i}`, type: '1', pax: { linkpath: `${'l/'.repeat(100)}f` } })),
    ],
    /paths are too long and too many/,
  ],
  'more extended headers than one entry has': [
    () => [...times(9, () => tarEntry({ name: 'p', type: 'x', data: '11 a=12345\n' })), { name: 'f' }],
    /more than 8 extended headers/,
  ],
  'an extended header of more than 1 MiB': [
    () => [tarEntry({ name: 'p', type: 'x', data: Buffer.alloc(1024 * 1024 + 1) })],
    /extended header is 1048577 bytes long/,
  ],
  'extended headers of nothing but records': [
    () => [tarEntry({ name: 'p', type: 'x', data: '6 a=b\n'.repeat(100_001) })],
    /more than 100000 records/,
  ],
};

describe('what one layer may ask for', () => {
  it.each(Object.entries(tooMuch))('is refused beyond its bound: %s', (_title, [entries, message]) => {
    expect(() => read(entries())).toThrow(
      expect.toSatisfy((error) => isCode(error, 'invalid-argument') && message.test(error.message)) as Error,
    );
  });

  it('is enough for a layer of ordinary shape', () => {
    const folders = times(20, (i) => ({ name: `usr/lib/package-${i}`, type: '5' }));
    const files = folders.flatMap(({ name }) => times(10, (i) => ({ name: `${name}/${i}` })));
    expect(() => read([link('lib', 'usr/lib'), ...folders, ...files, { name: 'lib/more' }])).not.toThrow();
  });

  it('bounds the paths of folders that no entry describes, since each is written', () => {
    const pass = new FirstPass(new CanonicalTar(() => undefined));
    const reader = new TarReader(pass);
    const deep = 'a/'.repeat(1900);
    for (let i = 0; i < 40; i++) reader.push(tarEntry(at(`${i}/${deep}f`)));
    reader.push(endOfArchive);
    expect(() => pass.finish(0)).toThrow(/more than 67108864 bytes of paths of folders that no entry describes/);
  });
});
