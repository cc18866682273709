import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { diskUsage } from '../../src/host/index.js';
import { fakeMkfs } from '../erofs/images.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { applyWorld } from './apply-world.js';
import { tar, type Entry } from './tar-builder.js';

const plain = { mediaType: 'application/vnd.oci.image.layer.v1.tar' };
const files: readonly Entry[] = [
  { name: './', type: '5', mode: 0o755 },
  { name: 'a', data: 'a' },
  { name: 'b', data: 'bb' },
  { name: 'c', link: 'target', type: '2' },
];

requires('mkfs.erofs')('what mkfs.erofs made of a layer', () => {
  it.each<[what: string, why: RegExp, made: readonly Entry[]]>([
    ['lacks an entry', /3 entries instead of 4/, files.slice(0, -1)],
    ['has one more', /more than 4 entries/, [...files, { name: 'd', data: 'd' }]],
    ['has another name', /entries differ/, [...files.slice(0, -1), { name: 'd', link: 'target', type: '2' }]],
    ['has another size', /entries differ/, [...files.slice(0, 2), { name: 'b', data: 'bbb' }, ...files.slice(3)]],
    ['has another type', /entries differ/, [...files.slice(0, -1), { name: 'c', data: 'target' }]],
  ])('is refused when it %s, and nothing is left', async (_, why, made) => {
    const folder = await temporaryFolder();
    const other = join(folder, 'other.tar');
    await writeFile(other, tar(...made));
    const real = execFileSync('sh', ['-c', 'command -v mkfs.erofs'], { encoding: 'utf8' }).trim();
    await fakeMkfs(folder, `cat >/dev/null; exec ${real} "$@" ${other}`);
    const world = await applyWorld();
    const applied = world.apply(tar(...files), plain);
    await expect(applied).rejects.toMatchObject({ code: 'data-loss', message: expect.stringMatching(why) as string });
    expect(await world.leftovers()).toEqual([]);
  });

  it('is what was handed on for every kind of entry, replaced ones and links to all of them too', async () => {
    const world = await applyWorld();
    await world.apply(
      tar(
        ...files,
        { name: 'implied/by/this', data: 'x'.repeat(5000) },
        { name: 'implied/device', type: '4', major: 259, minor: 70_000 },
        { name: 'implied/null', type: '3', major: 1, minor: 3 },
        { name: 'implied/pipe', type: '6' },
        { name: 'linked/c', type: '1', link: 'c' },
        { name: 'linked/null', type: '1', link: 'implied/null' },
        { name: 'linked/b', type: '1', link: 'b' },
        { name: 'implied/.wh.gone' },
        { name: 'implied/', type: '5', mode: 0o700 },
      ),
      plain,
    );
    await world.apply(
      tar(...files, { name: 'a', type: '5' }, { name: 'a/b', data: 'new' }, { name: 'b', data: '' }),
      plain,
    );
  });

  it('takes no more of the disk than its data when it has long runs of zeros', async () => {
    const world = await applyWorld();
    const zeros = Buffer.alloc(20 * 2 ** 20);
    zeros.write('end', zeros.length - 3);
    await world.apply(tar(...files, { name: 'zeros', data: zeros }), plain);
    expect((await diskUsage(world.image)).bytes).toBeLessThan(2 ** 20);
    expect((await world.imageBytes()).length).toBeGreaterThan(zeros.length);
  });
});
