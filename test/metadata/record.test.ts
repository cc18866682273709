import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseRecord, serializeRecord, type Serve } from '../../src/metadata/index.js';
import type { QuarantinedRecord } from '../../src/metadata/record.js';
import { listedOldestFirst } from '../../src/vocabulary.js';
import { recordOf } from './support.js';

const digest = `sha256:${'ab'.repeat(32)}` as const;

const full: QuarantinedRecord = {
  createdAt: '2026-01-02T03:04:05.678Z',
  updatedAt: '2026-01-02T03:04:05.678Z',
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
};

const { rules: _since3, ...layerOfSecond } = full.layer!;
const second: QuarantinedRecord = { ...full, layer: layerOfSecond };

const places = listedOldestFirst([
  { id: 1, file: 'a' },
  { id: 2, file: 'b' },
]);
const overlaid: Serve = {
  ...({ shape: 'image', image: 'merged', layers: places, writable: true } as const),
  merged: { id: 2, plan: { rules: 'overlay', inlays: [1] } },
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

const head = (kind: string) =>
  `"id":2,"key":"k","kind":"${kind}","parent":"p","labels":{},"createdAt":"2026-01-02T03:04:05.678Z","updatedAt":"2026-01-02T03:04:05.678Z"`;
const layer = `{"file":"layer.erofs","uuid":"u","blocks":9,"applied":{"digest":"${digest}","diffId":"${digest}","tarBytes":1,"modified":"1"}}`;
const disks = (fields: string, count: number) =>
  `{"shape":"image",${fields},"layers":${JSON.stringify([3, 4].slice(0, count))},"files":${JSON.stringify(['a', 'b'].slice(0, count))},"writable":`;

describe('what 4e42aeb wrote is a record of its kind, and the same bytes again', () => {
  test.each<[string, string, object]>([
    [
      'committed',
      `${head('committed')},"role":"extract","layer":${layer},"usage":{"bytes":1,"inodes":1}`,
      { role: 'extract' },
    ],
    [
      'committed container',
      `${head('committed')},"role":"container","namespace":"n","layer":${layer}`,
      { role: 'container' },
    ],
    ['extract', `${head('active')},"role":"extract","serve":{"shape":"extract"}`, { serve: { shape: 'extract' } }],
    [
      'extract, applied and not committed',
      `${head('active')},"role":"extract","namespace":"n","serve":{"shape":"extract"},"layer":${layer}`,
      { layer: JSON.parse(layer) as object },
    ],
    [
      'container on nothing',
      `${head('active')},"role":"container","serve":${disks('"image":"none"', 0)}true},"writableBytes":1`,
      { serve: { shape: 'image', image: 'none', writable: true }, writableBytes: 1 },
    ],
    [
      'container on one layer',
      `${head('active')},"role":"container","serve":${disks('"image":"single"', 1)}true},"writableBytes":1`,
      { serve: { shape: 'image', image: 'single', layer: { id: 3, file: 'a' }, writable: true } },
    ],
    [
      'merged view',
      `${head('view')},"role":"view","serve":${disks('"image":"merged","merged":4', 2)}false}`,
      {
        serve: {
          merged: { id: 4, plan: { rules: 'mkfs', inlays: [] } },
          layers: [
            { id: 3, file: 'a' },
            { id: 4, file: 'b' },
          ],
        },
      },
    ],
    [
      'separate view',
      `${head('view')},"role":"view","serve":${disks('"image":"separate"', 2)}false}`,
      {
        serve: {
          image: 'separate',
          layers: [
            { id: 3, file: 'a' },
            { id: 4, file: 'b' },
          ],
          writable: false,
        },
      },
    ],
    ['empty view', `${head('view')},"role":"view","serve":{"shape":"empty-view"}`, { serve: { shape: 'empty-view' } }],
  ])('%s', (_what, fields, expected) => {
    const text = `{"version":${fields.includes('"namespace"') ? 2 : 1},${fields}}`;
    const record = parseRecord(text, 'here');
    expect(record.quarantine).toBeUndefined();
    expect(record).toMatchObject(expected);
    expect(serializeRecord(record)).toBe(text);
  });
});

describe('a record that no sound snapshot has is quarantined, and loses nothing', () => {
  test.each<[string, string, string]>([
    ['committed without a layer', `${head('committed')},"role":"extract"`, 'names no layer'],
    ['view without its answer', `${head('view')},"role":"view"`, 'does not say how it is served'],
    ['container without its answer', `${head('active')},"role":"container"`, 'does not say how it is served'],
    ['committed view', `${head('committed')},"role":"view","layer":${layer}`, 'contradicts'],
    [
      'committed and served',
      `${head('committed')},"role":"extract","serve":{"shape":"extract"},"layer":${layer}`,
      'contradicts',
    ],
    [
      'extract served by disks',
      `${head('active')},"role":"extract","serve":${disks('"image":"none"', 0)}true}`,
      'contradicts',
    ],
    [
      'container with a layer',
      `${head('active')},"role":"container","serve":${disks('"image":"none"', 0)}true},"layer":${layer}`,
      'contradicts',
    ],
  ])('%s', (_what, fields, why) => {
    const text = `{"version":1,${fields}}`;
    const record = parseRecord(text, 'here');
    expect(record.quarantine).toContain(why);
    expect(JSON.parse(serializeRecord(record))).toEqual({ ...JSON.parse(text), quarantine: record.quarantine });
    expect(parseRecord(serializeRecord(record), 'here')).toEqual(record);
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
