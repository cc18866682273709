import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseRecord, serializeRecord } from '../../src/metadata/index.js';
import type { QuarantinedRecord } from '../../src/metadata/record.js';
import { listedOldestFirst } from '../../src/vocabulary.js';
import { packageRoot } from '../../src/package.js';
import { recordOf } from './support.js';

const read = (name: string) => readFileSync(join(packageRoot(), name), 'utf8');

const digest = `sha256:${'0'.repeat(64)}` as const;

/** Every field that a record can have; the compiler refuses one that is missing here. */
const everyField: Required<QuarantinedRecord> = {
  ...recordOf({ id: 2, key: 'k' }),
  namespace: 'default',
  serve: {
    shape: 'image',
    image: 'merged',
    merged: { id: 1, plan: { rules: 'overlay', inlays: [1] } },
    layers: listedOldestFirst([
      { id: 1, file: 'a' },
      { id: 2, file: 'b' },
    ]),
    writable: true,
  },
  writableBytes: 1,
  layer: {
    file: 'layer.erofs',
    uuid: 'u',
    blocks: 1,
    rules: 1,
    applied: { digest, diffId: digest, tarBytes: 1, modified: '1' },
  },
  usage: { bytes: 1, inodes: 1 },
  revision: 4,
  quarantine: 'why',
};

const stored = JSON.parse(serializeRecord(everyField)) as Record<string, unknown>;

test('docs/on-disk.md lists exactly the fields of a record, and the names inside them', () => {
  expect(parseRecord(stored, 'here')).toEqual(everyField);
  const page = read('docs/on-disk.md');
  const table = page.slice(page.indexOf('## The record'), page.indexOf('`serve` is'));
  const rows = [...table.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => [...(cell ?? '').matchAll(/`(\w+)`/g)]);
  expect(rows.map(([, name]) => name).sort()).toEqual(Object.keys(stored).sort());
  for (const inner of [stored['serve'], everyField.layer, everyField.usage]) {
    for (const name of Object.keys(inner as object)) expect(page).toMatch(new RegExp(`[\`"]${name}[\`"]`));
  }
});

test('docs/on-disk.md and UPGRADING.md name the format version that is written', () => {
  expect(read('docs/on-disk.md')).toContain(`Format version: ${String(stored['version'])}.`);
  const versions = [...read('UPGRADING.md').matchAll(/^## Format version (\d+)$/gm)].map(([, version]) =>
    Number(version),
  );
  expect(Math.max(...versions)).toBe(stored['version']);
});
