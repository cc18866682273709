import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { convertTar, layerUuid } from '../../src/erofs/index.js';
import { isCode, type ErrorCode } from '../../src/errors.js';
import { run, setXattr } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { applyWorld, digestOf } from './apply-world.js';
import { tar, type Entry } from './tar-builder.js';

const native = 'application/vnd.erofs.layer.v1';

const failure = (code: ErrorCode, message: RegExp) =>
  expect.toSatisfy((error) => isCode(error, code) && message.test(error.message)) as Error;

/** The path of an image as a builder would push it. */
async function nativeLayer(...more: readonly Entry[]): Promise<string> {
  const folder = await temporaryFolder();
  const [tarPath, output] = [join(folder, 'tar'), join(folder, 'image')];
  await writeFile(
    tarPath,
    tar({ name: './', type: '5', mode: 0o755 }, { name: 'file', data: 'x'.repeat(20_000) }, ...more),
  );
  await convertTar({ tar: tarPath, output, uuid: layerUuid(`sha256:${'1'.repeat(64)}`), deadlineMs: 60_000 });
  return output;
}

requires('root', 'mkfs.erofs')('a layer that is an EROFS image already', () => {
  it.each([native, 'application/vnd.oci.image.layer.v1.erofs'])('%s is taken byte for byte', async (mediaType) => {
    const path = await nativeLayer();
    const bytes = await readFile(path);
    const world = await applyWorld();
    const answer = { mediaType, digest: digestOf(bytes), size: bytes.length };
    expect(await world.apply(path, { mediaType })).toEqual(answer);
    expect(await world.imageBytes()).toEqual(bytes);
    expect(await world.leftovers()).toEqual(['layer.erofs']);
  });

  it('is refused when it is cut off, no EROFS, or other than its digest says, and nothing is left', async () => {
    const path = await nativeLayer();
    const whole = await readFile(path);
    const world = await applyWorld();
    await expect(world.apply(Buffer.alloc(8192), { mediaType: native })).rejects.toThrow(
      failure('invalid-argument', /not a usable EROFS image/),
    );
    const digest = digestOf(Buffer.from('another'));
    await expect(world.apply(whole, { mediaType: native, digest })).rejects.toThrow(failure('data-loss', /digest/));
    await truncate(path, whole.length - 4096);
    await expect(world.apply(path, { mediaType: native })).rejects.toThrow(failure('invalid-argument', /file ends/));
    expect(await world.leftovers()).toEqual([]);
  });

  it('is refused when its folders are a loop, and nothing is left', async () => {
    const path = await nativeLayer({ name: 'folder/', type: '5', mode: 0o755 });
    const image = await readFile(path);
    // The entries come before their names: of `.`, `..`, `file` and `folder`, 12 bytes each.
    const entries = image.indexOf('...filefolder') - 48;
    image.copy(image, entries + 36, entries, entries + 8);
    image.writeUInt8(image.readUInt8(1032) & ~1, 1032);
    const world = await applyWorld();
    await expect(world.apply(image, { mediaType: native })).rejects.toThrow(failure('invalid-argument', /two places/));
    expect(await world.leftovers()).toEqual([]);
  });

  it.each(['redirect', 'metacopy', 'whiteout'])(
    'is refused when overlay would look elsewhere for what is in it, by %s, and nothing is left',
    async (note) => {
      const attributes = { [`SCHILY.xattr.trusted.overlay.${note}`]: '/elsewhere' };
      const path = await nativeLayer({ name: 'other', type: '5', pax: attributes });
      const world = await applyWorld();
      const refusal = failure('invalid-argument', new RegExp(`refers to another layer by trusted.overlay.${note}`));
      await expect(world.apply(path, { mediaType: native })).rejects.toThrow(refusal);
      expect(await world.leftovers()).toEqual([]);
    },
  );

  it.each(['x', 'n', 'yes', ''])(
    'is refused when a folder is opaque by "%s", which a merge takes for "y"',
    async (value) => {
      const path = await nativeLayer({
        name: 'other',
        type: '5',
        pax: { 'SCHILY.xattr.trusted.overlay.opaque': value },
      });
      const world = await applyWorld();
      const refusal = failure('invalid-argument', /trusted.overlay.opaque other than "y"/);
      await expect(world.apply(path, { mediaType: native })).rejects.toThrow(refusal);
      expect(await world.leftovers()).toEqual([]);
    },
  );

  it('is refused when names of xattrs begin as a table in it says, where a note could hide', async () => {
    const folder = await temporaryFolder();
    const [tree, output] = [join(folder, 'tree'), join(folder, 'image')];
    await mkdir(join(tree, 'other'), { recursive: true });
    setXattr(join(tree, 'other'), 'trusted.overlay.opaque', Buffer.from('x'));
    const options = ['--quiet', '-b4096', '-Enoinline_data', '--xattr-prefix=trusted.overlay.'];
    await run('mkfs.erofs', [...options, output, tree], { deadlineMs: 60_000 });
    const world = await applyWorld();
    await expect(world.apply(output, { mediaType: native })).rejects.toThrow(
      failure('invalid-argument', /xattr-prefix/),
    );
    expect(await world.leftovers()).toEqual([]);
  });

  it('is taken with opaque folders, and with what an overlay inside a container noted', async () => {
    const nested = {
      'SCHILY.xattr.trusted.overlay.opaque': 'y',
      'SCHILY.xattr.trusted.overlay.overlay.redirect': '/elsewhere',
      'SCHILY.xattr.user.overlay.metacopy': '',
    };
    const path = await nativeLayer({ name: 'other', type: '5', pax: nested });
    const world = await applyWorld();
    await world.apply(path, { mediaType: native });
    expect(await world.leftovers()).toEqual(['layer.erofs']);
  });
});
