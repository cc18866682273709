import { createCipheriv, createHash } from 'node:crypto';

import type { LayerTar } from '../rig/layer-tar.js';

/** Bytes that look random and are the same in every run: AES in counter mode, keyed by the seed. */
export function noise(seed: string, bytes: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** Half noise, half zeros in pieces of 4 KiB, so that it compresses about as well as programs do. */
export function compressible(seed: string, bytes: number): Buffer {
  const content = noise(seed, bytes);
  for (let at = 0; at < bytes; at += 8192) content.fill(0, at, Math.min(at + 4096, bytes));
  return content;
}

export interface Size {
  readonly folders: number;
  readonly filesEach: number;
  /** Bytes. */
  readonly fileSize: number;
}

/** Fills a layer with folders of files that only this layer has, and one folder and file that every such layer has. */
export async function fill(layer: LayerTar, name: string, { folders, filesEach, fileSize }: Size): Promise<void> {
  await layer.folder('common');
  await layer.file('common/newest', name);
  for (let folder = 0; folder < folders; folder++) {
    const path = `${name}/${folder}`;
    if (folder === 0) await layer.folder(name);
    await layer.folder(path);
    for (let file = 0; file < filesEach; file++) {
      await layer.add({ name: `${path}/${file}`, mode: 0o644 }, compressible(`${path}/${file}`, fileSize));
    }
  }
}
