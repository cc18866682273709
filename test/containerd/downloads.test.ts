import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { downloads, downloadsBegun, openDownload } from '../../src/containerd/downloads.js';
import type { Digest } from '../../src/vocabulary.js';
import { temporaryFolder } from '../host/temporary.js';

const digest = (fill: string): Digest => `sha256:${fill.repeat(64)}`;

/** A content store's folder of ingests. */
async function contentStore() {
  const root = await temporaryFolder();
  await mkdir(join(root, 'ingest'));
  const begin = async (name: string, ref: string | undefined, data?: string) => {
    const folder = join(root, 'ingest', name);
    await mkdir(folder);
    if (ref !== undefined) await writeFile(join(folder, 'ref'), ref);
    if (data !== undefined) await writeFile(join(folder, 'data'), data);
    return folder;
  };
  return { root, begin };
}

it('layers that are fetched are told from other ingests and other namespaces', async () => {
  const { root, begin } = await contentStore();
  await begin('1', `default/7/layer-${digest('a')}`, 'one');
  await begin('2', `other/8/layer-${digest('b')}`, 'two');
  await begin('3', `default/9/manifest-${digest('c')}`, 'three');
  await begin('4', 'default/10/layer-sha256:short', 'four');
  await begin('5', undefined);
  await begin('6', `default/layer-${digest('d')}`, 'six');
  await writeFile(join(root, 'ingest', 'a file'), '');
  expect(await downloads(root, 'default')).toEqual([digest('a')]);
  expect(await downloads(root, 'other')).toEqual([digest('b')]);
});

it('a fetch that has just begun or ended is none', async () => {
  const { root, begin } = await contentStore();
  expect(await openDownload(root, 'default', digest('a'))).toBeUndefined();
  const folder = await begin('1', `default/7/layer-${digest('a')}`);
  expect(await openDownload(root, 'default', digest('a'))).toBeUndefined();
  await writeFile(join(folder, 'data'), 'one');
  const file = await openDownload(root, 'default', digest('a'));
  expect(await file?.readFile('utf8')).toBe('one');
  await file?.close();
  await rm(join(root, 'ingest'), { recursive: true });
  expect(await downloads(root, 'default')).toEqual([]);
});

it('a fetch that begins is told of once its files may be there', async () => {
  const { root, begin } = await contentStore();
  const controller = new AbortController();
  let told = 0;
  const watching = (async () => {
    for await (const _begun of downloadsBegun(root, controller.signal)) told += 1;
  })();
  await vi.waitFor(async () => {
    await begin(String(Math.random()), `default/7/layer-${digest('a')}`, 'one');
    expect(told).toBeGreaterThan(0);
  });
  controller.abort();
  await expect(watching).rejects.toThrow(/abort/i);
});
