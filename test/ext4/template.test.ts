import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTemplate, TemplateCache, writeTemplate, type Template } from '../../src/ext4/template.js';
import { temporaryFolder } from '../host/temporary.js';

describe('a template', () => {
  it('gives back the bytes of the image it was read from, and keeps only the blocks that are not zero', async () => {
    const folder = await temporaryFolder();
    const image = join(folder, 'image');
    await writeFile(image, '');
    const file = await open(image, 'r+');
    await file.truncate(10 * 1024 * 1024 + 100);
    await file.write(Buffer.alloc(8192, 1), 0, 8192, 4096);
    await file.write(Buffer.alloc(4096), 0, 4096, 1024 * 1024);
    await file.write(Buffer.from('end'), 0, 3, 10 * 1024 * 1024 + 97);
    await file.close();

    const template = await readTemplate(image, 1024 * 1024);
    expect(template?.size).toBe(8192 + 100);
    await writeTemplate(template as Template, join(folder, 'copy'));
    expect((await readFile(join(folder, 'copy'))).equals(await readFile(image))).toBe(true);
  });

  it('is refused when it would take more memory than allowed', async () => {
    const image = join(await temporaryFolder(), 'image');
    await writeFile(image, Buffer.alloc(64 * 1024, 1));
    expect(await readTemplate(image, 64 * 1024 - 1)).toBeUndefined();
  });
});

describe('the cache of templates', () => {
  const template = (size: number): Template => ({ bytes: size, pieces: [], size });

  it('drops the template not used for longest when it is full', () => {
    const cache = new TemplateCache(10);
    cache.set('a', template(4));
    cache.set('b', template(4));
    cache.get('a');
    cache.set('c', template(4));
    expect(['a', 'b', 'c'].map((key) => cache.get(key) !== undefined)).toEqual([true, false, true]);
  });

  it('counts a key once', () => {
    const cache = new TemplateCache(10);
    for (let turn = 0; turn < 5; turn += 1) cache.set('a', template(6));
    cache.set('b', template(4));
    expect(cache.get('a')).toBeDefined();
    expect(cache.get('b')).toBeDefined();
  });
});
