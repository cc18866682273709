import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package.js';
import { decide, filesOf } from '../../src/snapshots/serve.js';
import { RootPaths } from '../../src/snapshots/paths.js';
import { answerOf, armOf, decisionOf, placesOf, rows, tableLines } from './serve-rows.js';

async function golden(): Promise<Record<string, unknown>> {
  const path = join(import.meta.dirname, 'fixtures', 'mounts.json');
  return JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
}

describe('the mount answer', () => {
  it.each(rows)('$name: what is decided has the name of its row', (row) => {
    expect(armOf(row)).toBe(row.name);
  });

  it.each(rows)('$name: the answer is the one that VM runtimes know', async (row) => {
    expect(answerOf(row)).toEqual((await golden())[row.name]);
  });

  it('every golden answer has its row, and docs/mounts.md shows exactly these rows', async () => {
    expect(Object.keys(await golden())).toEqual(rows.map(({ name }) => name));
    const text = await readFile(join(packageRoot(), 'docs', 'mounts.md'), 'utf8');
    const table = /\| Row +\|.*\n\| -+ \|.*\n((?:\|.*\n)+)/.exec(text)?.[1];
    expect(table?.trimEnd().split('\n').map(unpadded)).toEqual(tableLines());
  });

  it('no answer is an overlay, and none names a mounted folder', () => {
    const types = rows.flatMap((row) => answerOf(row).map(({ type }) => type));
    expect([...new Set(types)].sort()).toEqual(['bind', 'erofs', 'ext4', 'format/erofs']);
    const sources = rows.flatMap((row) => answerOf(row).map(({ source }) => source));
    expect(sources.filter((source) => source.includes('/rw'))).toEqual(
      sources.filter((source) => source.endsWith('/rwlayer.img')),
    );
  });

  it('the writable mount is the last, and the only one that can be written to (an extract bind stands alone)', () => {
    for (const row of rows) {
      const writable = answerOf(row).map(({ options }) => options.includes('rw'));
      expect(writable.slice(0, -1)).not.toContain(true);
      expect(writable.at(-1)).toBe(row.role !== 'view');
    }
  });

  it('a merged answer needs the descriptor and the manifest beside its image, a writable one its own ext4', () => {
    const names = (name: string) => {
      const row = rows.find((candidate) => candidate.name === name)!;
      return filesOf(decisionOf(row), 9, new RootPaths('/srv/erofs')).map((path) =>
        path.replace('/srv/erofs/snapshots/', ''),
      );
    };
    expect(names('merged + writable')).toEqual([
      ...['1/layer-1.erofs', '2/layer-2.erofs', '3/layer-3.erofs'],
      ...['3/fsmeta.erofs', '3/layers.manifest', '3/merged.vmdk', '9/rwlayer.img'],
    ]);
    const row = rows.find(({ name }) => name === 'merged')!;
    const { serve } = decide({
      role: row.role,
      layers: placesOf(row),
      merged: { id: 3, plan: { rules: 'overlay', inlays: [2] } },
    });
    expect(filesOf(serve, 9, new RootPaths('/')).map((path) => path.replace('/snapshots/', ''))).toEqual([
      ...['1/layer-1.erofs', '2/layer-2.erofs', '3/merged/inlay-2.erofs', '3/layer-3.erofs'],
      ...['3/merged/fsmeta.erofs', '3/merged/layers.manifest', '3/merged/merged.vmdk'],
    ]);
    expect(names('extract')).toEqual(['9/fs']);
    expect(names('single')).toEqual(['1/layer-1.erofs']);
  });
});

/** A formatter may pad the cells of a table. */
function unpadded(line: string): string {
  return line
    .replaceAll(/ +\| */g, ' | ')
    .replaceAll(/^\| +/g, '| ')
    .trim();
}
