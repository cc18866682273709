import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { link, mkdir, mkdtemp, rename, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { folderTar } from '../../src/diff/index.js';
import { setXattr } from '../../src/host/index.js';
import { silentLogger } from '../../src/log.js';
import { requires } from '../harness/requires.js';

const { signal } = new AbortController();

requires('root')('the tar of a folder', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function tar(onPart: (bytes: number) => unknown = () => undefined, given = {}): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of folderTar(folder, { signal, log: silentLogger(), ...given })) {
      parts.push(part);
      await onPart(part.length);
    }
    return Buffer.concat(parts);
  }
  const names = (bytes: Buffer) =>
    execFileSync('tar', ['-t', '--quoting-style=literal'], { input: bytes }).toString().trim().split('\n');
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

  it('is the same whenever and in whatever order the folder was filled', async () => {
    const fill = async (order: readonly string[]) => {
      for (const name of order) await writeFile(join(folder, name), name);
      for (const name of [...order, '']) await utimes(join(folder, name), 1, 1);
    };
    await fill(['b', 'a', 'Z', 'ä']);
    const first = await tar();
    expect(names(first)).toEqual(['./', 'Z', 'a', 'b', 'ä']);
    expect(digest(await tar())).toBe(digest(first));
    for (const name of ['b', 'a', 'Z', 'ä']) await rm(join(folder, name));
    await fill(['ä', 'Z', 'a', 'b']);
    expect(digest(await tar())).toBe(digest(first));
    await utimes(join(folder, 'a'), 1, 2);
    expect(digest(await tar())).not.toBe(digest(first));
  });

  it('says beforehand how long it will be', async () => {
    await writeFile(join(folder, 'file'), 'x'.repeat(3_000_000));
    await symlink('file', join(folder, 'link'));
    let total = 0;
    const bytes = await tar(undefined, { onTotal: (given: number) => (total = given) });
    expect(total).toBe(bytes.length);
  });

  it("keeps an overlay's deletions", async () => {
    await mkdir(join(folder, 'opaque'));
    setXattr(join(folder, 'opaque'), 'trusted.overlay.opaque', 'y');
    execFileSync('mknod', [join(folder, 'gone'), 'c', '0', '0']);
    expect(names(await tar())).toEqual(['./', '.wh.gone', 'opaque/', 'opaque/.wh..wh..opq']);
    setXattr(join(folder, 'opaque'), 'trusted.overlay.redirect', '/elsewhere');
    await expect(tar()).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining('trusted.overlay.redirect') as unknown,
    });
  });

  it.each<[string, (inside: (name: string) => string) => Promise<unknown>]>([
    ['a file that was read is written', (inside) => writeFile(inside('a'), 'y')],
    ['a file that is being read is cut off', (inside) => truncate(inside('b'), 10)],
    ['a file that is being read grows', (inside) => writeFile(inside('b'), 'z', { flag: 'a' })],
    ['a file that was not read yet goes', (inside) => rm(inside('c'))],
    ['a file appears where it was read already', (inside) => writeFile(inside('A'), '')],
    ['a file gets another name', (inside) => rename(inside('a'), inside('0'))],
    ['a file gets another name more', (inside) => link(inside('a'), inside('z'))],
    ['the folder itself goes', async (inside) => rename(inside(''), `${inside('')}-elsewhere`)],
  ])('is refused when %s', async (_, change) => {
    for (const name of ['a', 'b', 'c']) await writeFile(join(folder, name), 'x'.repeat(3_000_000));
    let bytes = 0;
    let changed = false;
    const inTheMiddle = async (more: number) => {
      bytes += more;
      if (changed || bytes < 4_500_000) return;
      changed = true;
      await change((name) => join(folder, name).replace(/\/$/, ''));
    };
    const refused = tar(inTheMiddle);
    await expect(refused).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringMatching(/changed while it was read/) as unknown,
    });
    await rename(`${folder}-elsewhere`, folder).catch(() => undefined);
  });
});
