import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pack, type Header } from 'tar-stream';
import { onTestFinished } from 'vitest';
import { convertTar, layerUuid, mergeLayers, withInlays } from '../../src/erofs/index.js';
import { crc32c } from '../../src/crc32c.js';
import { mountedReadOnly } from '../harness/mounted.js';
import { newestFirst, oldestFirst, type Digest, type OldestFirst } from '../../src/vocabulary.js';
import { canonical } from '../diff/canonical.js';

export const deadlineMs = 60_000;

export type Entry = Partial<Header> & Pick<Header, 'name'> & { readonly content?: string | Buffer };

/** Writes a layer tar; entries without an mtime are as old as the epoch plus one second. */
export async function writeTar(path: string, entries: readonly Entry[]): Promise<string> {
  const tar = pack();
  const written = pipeline(tar, createWriteStream(path));
  for (const { content = '', ...headers } of entries) tar.entry({ mtime: new Date(1000), ...headers }, content);
  tar.finalize();
  await written;
  return path;
}

export const directory = (name: string, more: Partial<Entry> = {}): Entry => ({
  name,
  type: 'directory',
  mode: 0o755,
  ...more,
});
export const file = (name: string, content: string, more: Partial<Entry> = {}): Entry => ({ name, content, ...more });

export const digestOf = (text: string): Digest => `sha256:${createHash('sha256').update(text).digest('hex')}`;

/** Converts entries to the image `<folder>/<name>.erofs`, as Apply does: what they only imply is marked. */
export async function makeLayer(folder: string, name: string, entries: readonly Entry[]): Promise<string> {
  const tar = await writeTar(join(folder, `${name}.tar`), entries);
  const output = join(folder, `${name}.erofs`);
  const { bytes, implied } = canonical(await readFile(tar));
  await writeFile(tar, bytes);
  await convertTar({ tar, implied, output, uuid: layerUuid(digestOf(name)), deadlineMs });
  return output;
}

export const inOrder = <T>(...items: T[]): OldestFirst<T> => oldestFirst(newestFirst(items.toReversed()));

/** Merges layers into `output`, with inlays beside it, and tells the devices of the merged image. */
export async function mergeInto(output: string, layers: OldestFirst<string>, within = deadlineMs) {
  const inlay = (above: number) => `${output}.inlay-${above}`;
  const { image, plan } = await mergeLayers({ layers, output, deadlineMs: within, rules: 'overlay', inlay });
  return { ...image, plan, devices: withInlays(layers, plan.inlays, inlay) };
}

/** Mounts an image for the rest of the test, on this kernel. */
export async function mounted(folder: string, image: string, devices: readonly string[] = []): Promise<string> {
  const target = join(folder, `mount-${Math.random().toString(36).slice(2)}`);
  await mkdir(target);
  return mountedReadOnly({ image, devices, target, type: 'erofs' });
}

/** Puts a script in the place of mkfs.erofs for the rest of the test. In it, `$out` is the image asked for. */
export async function fakeMkfs(folder: string, script: string): Promise<void> {
  const tools = join(folder, 'tools');
  await mkdir(tools);
  const out = 'out=; for arg; do [ "$last" = uuid ] && out=$arg; [ "$last" = -U ] && last=uuid || last=$arg; done';
  await writeFile(join(tools, 'mkfs.erofs'), `#!/bin/sh\n${out}\n${script}\n`);
  await chmod(join(tools, 'mkfs.erofs'), 0o755);
  const before = process.env['PATH'];
  process.env['PATH'] = `${tools}:${before}`;
  onTestFinished(() => {
    process.env['PATH'] = before;
  });
}

/** The merged image and its layers in one sparse file, as QEMU shows a VMDK. */
export async function flatten(folder: string, image: string, layers: readonly string[]): Promise<string> {
  const disk = join(folder, 'disk.raw');
  const target = await open(disk, 'w');
  let at = 0;
  for (const path of [image, ...layers]) {
    const { size } = await stat(path);
    const source = await open(path, 'r');
    // Only what these tests write: nothing of a layer lies beyond its first 64 KiB.
    const head = Buffer.alloc(path === image ? size : Math.min(size, 64 * 1024));
    await source.read(head, 0, head.length, 0);
    await source.close();
    await target.write(head, 0, head.length, at);
    at += size;
  }
  await target.truncate(at);
  await target.close();
  return disk;
}

/** Rewrites a part of an image's superblock (offsets from its start) and makes its checksum fit again. */
export async function patchSuperblock(path: string, offset: number, bytes: Buffer): Promise<void> {
  const image = await open(path, 'r+');
  try {
    await image.write(bytes, 0, bytes.length, 1024 + offset);
    const block = Buffer.alloc(3072);
    await image.read(block, 0, block.length, 1024);
    block.writeUInt32LE(0, 4);
    const checksum = Buffer.alloc(4);
    checksum.writeUInt32LE(crc32c(block));
    await image.write(checksum, 0, 4, 1024 + 4);
  } finally {
    await image.close();
  }
}

/** Makes a layer take `blocks` blocks, the new ones holes: a large layer that costs no disk and no time. */
export async function growLayer(path: string, blocks: number): Promise<void> {
  const image = await open(path, 'r+');
  await image.truncate(blocks * 4096);
  await image.close();
  const count = Buffer.alloc(4);
  count.writeUInt32LE(blocks);
  await patchSuperblock(path, 36, count);
}
