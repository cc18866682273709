import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { MetadataStore } from '../../src/metadata/index.js';
import { requires } from '../harness/requires.js';
import { collect, insert, log } from './support.js';

const run = promisify(execFile);

requires('root')('a full disk', () => {
  test('refuses the write, keeps reading, and works again once space is free', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'erofs-snapshotter-test', folder]);
    onTestFinished(async () => {
      await run('umount', [folder]);
      await rm(folder, { recursive: true });
    });
    const store = await MetadataStore.open(join(folder, 'metadata.db'), log);
    await insert(store, { key: 'before' });
    const ballast = join(folder, 'ballast');
    await writeFile(ballast, Buffer.alloc(2 << 20)).catch(() => undefined);

    const keys = Array.from({ length: 40 }, (_, at) => `k${at}`);
    const outcomes = [];
    for (const key of keys) outcomes.push(await insert(store, { key, labels: { l: 'x'.repeat(3000) } }).catch(String));
    expect(outcomes.some((outcome) => typeof outcome === 'string')).toBe(true);
    for (const outcome of outcomes) if (typeof outcome === 'string') expect(outcome).toMatch(/no (disk )?space/);

    await rm(ballast);
    const after = await insert(store, { key: 'after' });
    expect(await store.get('before')).toBeDefined();
    expect(await store.get('after')).toEqual(after);
    const there = new Set((await collect(store.all())).map(({ key }) => key));
    for (const [at, outcome] of outcomes.entries()) expect(there.has(`k${at}`)).toBe(typeof outcome !== 'string');
    expect(await store.count()).toBe(there.size);
    await store.close();
    await (await MetadataStore.open(join(folder, 'metadata.db'), log)).close();
  });
});
