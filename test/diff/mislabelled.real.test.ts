import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { compressions } from '../../src/diff/media-types.js';
import { run } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { applyWorld, digestOf, gzip, plain, zstd } from './apply-world.js';
import { tar } from './tar-builder.js';

const layer = tar({ name: './', type: '5', mode: 0o755 }, { name: 'file', data: 'x'.repeat(20_000) });

async function zstdOf(bytes: Buffer): Promise<Buffer> {
  const path = join(await temporaryFolder(), 'layer');
  await writeFile(path, bytes);
  await run('zstd', ['-q', path], { deadlineMs: 60_000 });
  return readFile(`${path}.zst`);
}

requires('mkfs.erofs', 'zstd')('a layer that is compressed otherwise than its media type says', () => {
  it('is converted by its bytes, under every media type', async () => {
    for (const blob of [layer, gzipSync(layer), await zstdOf(layer)]) {
      const images = new Set<string>();
      const world = await applyWorld();
      for (const mediaType of compressions.keys()) {
        const answer = await world.apply(blob, { mediaType });
        expect(answer, mediaType).toEqual({ mediaType: plain, digest: digestOf(layer), size: layer.length });
        images.add(digestOf(await world.imageBytes()));
        expect(await world.leftovers()).toEqual(['layer.erofs']);
      }
      expect(images.size).toBe(1);
    }
  });

  it.each([
    ['noise', Buffer.alloc(2000, 'noise'), gzip, 'invalid-argument', /not gzip, nor any tar: it begins with 6e6f6973/],
    ['noise', Buffer.alloc(2000, 'noise'), zstd, 'invalid-argument', /not zstd, nor any tar/],
    ['noise', Buffer.alloc(2000, 'noise'), plain, 'invalid-argument', /checksum/],
    ['a foreign type', gzipSync(layer), `${plain}+br`, 'not-mine', /media type/],
    ['a name that ends like EROFS', layer, 'application/vnd.foo.erofs', 'not-mine', /media type/],
  ] as const)('is refused when it is %s, as %#, and nothing is left', async (_what, blob, mediaType, code, message) => {
    const world = await applyWorld();
    const refused = world.apply(blob, { mediaType });
    await expect(refused).rejects.toMatchObject({ code });
    await expect(refused).rejects.toThrow(message);
    expect(await world.leftovers()).toEqual([]);
  });

  it('is data loss when it is not even what its digest says', async () => {
    const world = await applyWorld();
    const digest = digestOf(layer);
    await expect(world.apply(Buffer.alloc(2000, 'noise'), { mediaType: gzip, digest })).rejects.toMatchObject({
      code: 'data-loss',
    });
    expect(await world.leftovers()).toEqual([]);
  });
});
