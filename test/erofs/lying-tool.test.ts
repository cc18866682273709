import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { convertTar, layerUuid } from '../../src/erofs/index.js';
import { temporaryFolder } from '../host/temporary.js';
import { digestOf, fakeMkfs } from './images.js';

/** A good image of one block, from the real tool; the scripts below hand out parts of it. */
const good = new URL('fixtures/empty.erofs', import.meta.url).pathname;
const uuidOfGood = layerUuid(`sha256:${'0'.repeat(64)}`);

let folder: string;
let output: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  output = join(folder, 'layer.erofs');
  await writeFile(join(folder, 'layer.tar'), '');
});

const convert = (uuid = uuidOfGood, deadlineMs = 10_000, signal?: AbortSignal) =>
  convertTar({ tar: join(folder, 'layer.tar'), output, uuid, deadlineMs, signal });

describe('mkfs.erofs in a bad state', () => {
  it('is believed when its image is good', async () => {
    await fakeMkfs(folder, `cp ${good} "$out"`);
    expect(await convert()).toMatchObject({ uuid: uuidOfGood, blocks: 1 });
  });

  it.each([
    ['writes nothing', ':', 'there is no EROFS image'],
    ['writes an empty file', ': >"$out"', 'ends after'],
    ['writes garbage', 'head -c 8192 /dev/zero | tr "\\0" x >"$out"', 'magic number'],
    ['cuts its image off', `head -c 2000 ${good} >"$out"`, 'ends after'],
    [
      'damages its superblock',
      `cp ${good} "$out"; printf x | dd of="$out" bs=1 seek=1060 conv=notrunc 2>/dev/null`,
      'checksum',
    ],
    [
      'writes far more than it counts',
      `cp ${good} "$out"; truncate -s 2M "$out"`,
      'of which its superblock counts only',
    ],
  ])('ends well but %s: an error, and nothing left', async (_, script, why) => {
    await fakeMkfs(folder, script);
    await expect(convert()).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(why) as string,
    });
    expect(readdirSync(folder).sort()).toEqual(['layer.tar', 'tools']);
  });

  it('ends well with an image of another layer: an error, and nothing left', async () => {
    await fakeMkfs(folder, `cp ${good} "$out"`);
    await expect(convert(layerUuid(digestOf('other')))).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('UUID') as string,
    });
    expect(existsSync(output)).toBe(false);
  });

  it('fails halfway: what it said is told, and nothing is left', async () => {
    await fakeMkfs(folder, `cp ${good} "$out"; echo "<E> erofs: something broke" >&2; exit 7`);
    await expect(convert()).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('something broke') as string,
      facts: { exitCode: 7 },
    });
    expect(existsSync(output)).toBe(false);
  });

  it('fills the disk: said so, and nothing is left', async () => {
    await fakeMkfs(folder, `cp ${good} "$out"; echo "<E> erofs: write failed: No space left on device" >&2; exit 1`);
    await expect(convert()).rejects.toMatchObject({ code: 'resource-exhausted' });
    expect(existsSync(output)).toBe(false);
  });

  it.each(['its deadline', 'a cancelled call'])('hangs: %s ends it and its child, and nothing is left', async (end) => {
    const pidFile = join(folder, 'pid');
    await fakeMkfs(
      folder,
      `cp ${good} "$out"; sleep 600 & echo $! >"${pidFile}.new"; mv "${pidFile}.new" "${pidFile}"; wait`,
    );
    const abort = new AbortController();
    const converting = convert(uuidOfGood, end === 'its deadline' ? 500 : 60_000, abort.signal);
    const outcome = expect(converting).rejects.toMatchObject({
      code: end === 'its deadline' ? 'deadline-exceeded' : 'cancelled',
    });
    while (!existsSync(pidFile)) await sleep(10);
    if (end !== 'its deadline') abort.abort();
    await outcome;
    expect(existsSync(output)).toBe(false);
    expect(isRunning(Number(readFileSync(pidFile, 'utf8')))).toBe(false);
  });
});

/** A process that has ended but was not collected yet does not count. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
