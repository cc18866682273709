import { Level } from 'level';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { toBase32 } from '../../../src/spfs/digest.js';
import { resolveReference, SpfsStore, type Reference } from '../../../src/spfs/store/index.js';
import { digestOf, freshRoot, freshStore, layer, log, platform, tag } from './support.js';

const [red, green] = [layer('red'), layer('green')];

function resolve(store: SpfsStore, reference: Reference) {
  return store.read((view) => resolveReference(view, reference));
}

/** Two layers whose digests begin with the same `length` characters. */
function alike(count: number, length: number) {
  const found = new Map<string, ReturnType<typeof layer>[]>();
  for (let at = 0; ; at += 1) {
    const one = layer(`candidate ${at}`);
    const start = toBase32(one.digest).slice(0, length);
    const others = [...(found.get(start) ?? []), one];
    if (others.length === count) return { start, layers: others };
    found.set(start, others);
  }
}

describe('a reference', () => {
  test('is a whole digest, the beginning of one, or a tag with its versions', async () => {
    const store = await freshStore();
    const both = platform(red, green);
    await tag(store, ['t', red], ['t', green], ['t', both]);
    const base32 = toBase32(green.digest);
    expect(await resolve(store, { text: base32, digest: green.digest })).toEqual(green);
    expect(await resolve(store, { text: base32.slice(0, 8), partial: base32.slice(0, 8) })).toEqual(green);
    for (const [version, object] of [both, green, red].entries()) {
      expect(await resolve(store, { text: `t~${version}`, tag: { name: 't', version } })).toEqual(object);
    }
  });

  test('is looked for among the digests first', async () => {
    const store = await freshStore();
    const name = toBase32(red.digest).slice(0, 4);
    await tag(store, ['x', red], [name, green], ['ZZZZ', green]);
    expect(await resolve(store, { text: name, partial: name, tag: { name, version: 0 } })).toEqual(red);
    expect(await resolve(store, { text: `${name}~0`, tag: { name, version: 0 } })).toEqual(green);
    expect(await resolve(store, { text: 'ZZZZ', partial: 'ZZZZ', tag: { name: 'ZZZZ', version: 0 } })).toEqual(green);
  });
});

describe('a reference that cannot be resolved', () => {
  test('because several digests begin so: the candidates with their kinds and tags', async () => {
    const store = await freshStore();
    const { start, layers } = alike(2, 3);
    await tag(store, ['one', layers[0]!], ['two', layers[0]!], ['three', layers[1]!]);
    const [first, second] = [...layers].sort((a, b) => (toBase32(a.digest) < toBase32(b.digest) ? -1 : 1));
    const shown = (one: typeof red) => {
      const names = one === layers[0] ? 'one, two' : 'three';
      return `layer ${toBase32(one.digest)} (${names})`;
    };
    await expect(resolve(store, { text: start, partial: start })).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `${start} can be ${shown(first!)}, ${shown(second!)}`,
      next: 'give more characters of the digest',
    });
    await tag(store, [start, red]);
    await expect(
      resolve(store, { text: start, partial: start, tag: { name: start, version: 0 } }),
    ).rejects.toMatchObject({ next: `give more characters of the digest, or ${start}~0 for the tag of this name` });
  });

  test('with more than ten candidates says how many more', async () => {
    const store = await freshStore();
    const { start, layers } = alike(13, 1);
    await tag(store, ...layers.map((one, at) => [`t${at}`, one] as const));
    await expect(resolve(store, { text: start, partial: start })).rejects.toMatchObject({
      message: expect.stringMatching(/^. can be (layer [A-Z2-7]{52}={4} \(t\d+\), ){10}and 3 more$/) as string,
      facts: { found: 13 },
    });
  });

  test('because there is no such digest', async () => {
    const store = await freshStore();
    await tag(store, ['t', red]);
    const digest = digestOf('nobody');
    const text = toBase32(digest);
    await expect(resolve(store, { text, digest })).rejects.toMatchObject({
      code: 'not-found',
      message: `${text}: there is no object with this digest here`,
      next: expect.stringContaining('spfs import') as string,
    });
  });

  test('because there is no such tag: similar ones', async () => {
    const store = await freshStore();
    const names = ['base', 'bse', 'shows/base', 'base-platform', 'other', 'base-2', 'base-3', 'base-4'];
    await tag(store, ...names.map((name) => [name, layer(name)] as const));
    await expect(resolve(store, { text: 'bas', tag: { name: 'bas', version: 0 } })).rejects.toMatchObject({
      code: 'not-found',
      message: 'there is no tag bas; similar: base, base-2, base-3, base-4, base-platform',
      next: expect.stringContaining('`spfs tags`') as string,
    });
    await expect(
      resolve(store, { text: 'BAZ', partial: 'BAZ', tag: { name: 'BAZ', version: 0 } }),
    ).rejects.toMatchObject({
      message: 'there is no tag BAZ, and no object whose digest begins so',
    });
  });

  test.for([
    [1, 'has one entry, ~0: there is no ~7'],
    [3, 'has 3 entries, ~0 to ~2: there is no ~7'],
  ] as const)('because the tag has only %i entries', async ([entries, what]) => {
    const store = await freshStore();
    for (let at = 0; at < entries; at += 1) await tag(store, ['t', layer(String(at))]);
    await expect(resolve(store, { text: 't~7', tag: { name: 't', version: 7 } })).rejects.toMatchObject({
      code: 'not-found',
      message: `the tag t ${what}`,
      next: '`spfs log t` shows them',
    });
  });

  test('because what the tag names is gone', async () => {
    const root = await freshRoot();
    const store = new SpfsStore({ root, log });
    await tag(store, ['t', red], ['u', green]);
    const level = new Level(join(root, 'store.db'));
    await level.sublevel('objects').del(toBase32(red.digest));
    await level.sublevel('meta').put('counters', '{"objects":1,"entries":2,"commits":2}');
    await level.close();
    await expect(resolve(store, { text: 't', tag: { name: 't', version: 0 } })).rejects.toMatchObject({
      code: 'data-loss',
      message: `the tag t names ${toBase32(red.digest)}, which is not here any more`,
    });
  });
});
