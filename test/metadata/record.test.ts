import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseRecord, serializeRecord, type SnapshotRecord } from '../../src/metadata/index.js';
import { recordOf } from './support.js';

const digest = `sha256:${'ab'.repeat(32)}` as const;

const full: SnapshotRecord = recordOf({
  id: 12,
  key: 'default/12/name',
  kind: 'committed',
  parent: 'default/11/parent',
  labels: { 'containerd.io/snapshot.ref': digest },
  role: 'extract',
  namespace: 'default',
  serve: { shape: 'extract' },
  layer: {
    file: `sha256-${'ab'.repeat(32)}.erofs`,
    uuid: '0f8fad5b-d9cb-469f-a165-70867728950e',
    blocks: 9,
    rules: 1,
    applied: { digest, diffId: digest, tarBytes: 10240, modified: '1763700000000000001' },
  },
  usage: { bytes: 36864, inodes: 3 },
  quarantine: 'its layer is damaged',
});

const { rules: _since3, ...layerOfSecond } = full.layer!;
const second: SnapshotRecord = { ...full, layer: layerOfSecond };

const overlaid: SnapshotRecord['serve'] = {
  ...({ shape: 'image', image: 'merged', merged: 2, layers: [1, 2], files: ['a', 'b'], writable: true } as const),
  ...({ rules: 'overlay', inlays: [1] } as const),
};

test('what is written is read back the same, as text and parsed', () => {
  for (const [record, version] of [
    [full, 3],
    [{ ...full, layer: undefined }, 2],
    [{ ...second, serve: overlaid }, 3],
    [recordOf({ id: 1, key: 'a' }), 1],
  ] as const) {
    const text = serializeRecord(record);
    expect(JSON.parse(text)).toMatchObject({ version });
    expect(parseRecord(text, 'here')).toEqual(record);
    expect(parseRecord(JSON.parse(text), 'here')).toEqual(record);
  }
});

test('version 1 as it was first written is still read, and is not rewritten as a newer one', () => {
  const text = readFileSync(new URL('fixtures/snapshot-v1.json', import.meta.url), 'utf8');
  const { namespace: _since2, ...first } = second;
  expect(parseRecord(text, 'snapshot-v1.json')).toEqual(first);
  expect(JSON.parse(serializeRecord(parseRecord(text, 'snapshot-v1.json')))).toEqual(JSON.parse(text));
});

test('version 2 as it was first written is still read, and is not rewritten as a newer one', () => {
  const text = readFileSync(new URL('fixtures/snapshot-v2.json', import.meta.url), 'utf8');
  expect(parseRecord(text, 'snapshot-v2.json')).toEqual(second);
  expect(JSON.parse(serializeRecord(second))).toEqual(JSON.parse(text));
});

test('version 3 as it was first written is still read', () => {
  const text = readFileSync(new URL('fixtures/snapshot-v3.json', import.meta.url), 'utf8');
  expect(parseRecord(text, 'snapshot-v3.json')).toEqual(full);
});

describe('a broken record is data-loss that names place and field', () => {
  const change = (fields: object): string => JSON.stringify({ version: 3, ...full, ...fields });
  const image = { shape: 'image', image: 'merged', merged: 2, layers: [1, 2], files: ['a', 'b'], writable: true };
  test.each<[string, string, string]>([
    ['nothing', '', 'it is not JSON'],
    ['half of it', serializeRecord(full).slice(0, 40), 'it is not JSON'],
    ['a list', '[]', 'it is not an object'],
    ['no version', JSON.stringify(full), '"version"'],
    ['version 0', change({ version: 0 }), '"version"'],
    ['id 0', change({ id: 0 }), '"id"'],
    ['id 1.5', change({ id: 1.5 }), '"id"'],
    ['an empty key', change({ key: '' }), '"key"'],
    ['kind x', change({ kind: 'x' }), '"kind"'],
    ['role x', change({ role: 'x' }), '"role"'],
    ['an empty namespace', change({ namespace: '' }), '"namespace"'],
    ['no parent', change({ parent: undefined }), '"parent"'],
    ['a label that is a number', change({ labels: { a: 1 } }), '"labels.a"'],
    ['a time that is none', change({ createdAt: 'yesterday' }), '"createdAt"'],
    ['a layer file that is a path', change({ layer: { ...full.layer, file: '../x' } }), '"layer.file"'],
    ['a layer file ..', change({ layer: { ...full.layer, file: '..' } }), '"layer.file"'],
    [
      'a short digest',
      change({ layer: { ...full.layer, applied: { ...full.layer?.applied, digest: 'sha256:ab' } } }),
      '"layer.applied.digest"',
    ],
    ['rules 0', change({ layer: { ...full.layer, rules: 0 } }), '"layer.rules"'],
    ['fewer files than layers', change({ serve: { ...image, files: ['a'] } }), '"serve"'],
    ['merged without its snapshot', change({ serve: { ...image, merged: undefined } }), '"serve"'],
    ['rules without inlays', change({ serve: { ...image, rules: 'overlay' } }), '"serve"'],
    ['inlays without rules', change({ serve: { ...image, inlays: [1] } }), '"serve"'],
    ['other rules', change({ serve: { ...image, rules: 'x', inlays: [] } }), '"serve.rules"'],
    ['merged of one layer', change({ serve: { ...image, layers: [1], files: ['a'] } }), '"serve"'],
    ['a file that is a path', change({ serve: { ...image, files: ['a', '/etc/passwd'] } }), '"serve.files.1"'],
    ['negative usage', change({ usage: { bytes: -1, inodes: 0 } }), '"usage.bytes"'],
    ['an unknown field', change({ colour: 'red' }), 'colour'],
  ])('%s', (_what, text, field) => {
    expect(() => parseRecord(text, 'snapshots/12/snapshot.json')).toThrow(
      expect.objectContaining({ code: 'data-loss', message: expect.stringContaining(field) as string }),
    );
    expect(() => parseRecord(text, 'snapshots/12/snapshot.json')).toThrow('snapshots/12/snapshot.json');
  });
});

test('a newer version is refused, saying which release to run, and is not data-loss', () => {
  expect(() => parseRecord({ version: 4, id: 1, new: 'field' }, 'here')).toThrow(
    expect.objectContaining({ code: 'failed-precondition', next: expect.stringContaining('UPGRADING.md') as string }),
  );
});

test('every stored version that was ever released has a fixture', () => {
  const names = readdirSync(new URL('fixtures', import.meta.url)).filter((name) => name.startsWith('snapshot-v'));
  expect(names).toEqual(['snapshot-v1.json', 'snapshot-v2.json', 'snapshot-v3.json']);
});
