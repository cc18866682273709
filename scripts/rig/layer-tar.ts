import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip } from 'node:zlib';

import { type Header, pack, type Pack } from 'tar-stream';

import type { Descriptor } from '../../src/vocabulary.js';
import { type LayoutWriter, mediaTypes } from './oci-layout.js';

export type Compression = 'plain' | 'gzip' | 'zstd';

export interface BuiltLayer {
  readonly descriptor: Descriptor;
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
}

/** A tar header; `pax` holds further records, such as `SCHILY.xattr.<name>`. */
export type TarEntry = Partial<Header> & Pick<Header, 'name'>;

/** Times that an image built twice must agree on. */
const fixedTime = new Date('2024-01-01T00:00:00Z');

/** A layer being written: entries in the order in which they are added, owners and times as given or fixed. */
export class LayerTar {
  readonly #pack: Pack = pack();
  readonly #written: Promise<void>;
  readonly #path: string;
  readonly #hash = createHash('sha256');

  constructor(path: string) {
    this.#path = path;
    const hashing = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#hash.update(chunk);
        done(null, chunk);
      },
    });
    this.#written = pipeline(this.#pack, hashing, createWriteStream(path));
  }

  async add(header: TarEntry, content: Uint8Array | string = ''): Promise<void> {
    const bytes = Buffer.from(content);
    const full: TarEntry = { uid: 0, gid: 0, mtime: fixedTime, ...header };
    await new Promise<void>((resolve, reject) => {
      this.#pack.entry(full, bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  folder(name: string, mode = 0o755): Promise<void> {
    return this.add({ name: `${name}/`, type: 'directory', mode });
  }

  file(name: string, content: string, more: Partial<TarEntry> = {}): Promise<void> {
    return this.add({ name, mode: 0o644, ...more }, content);
  }

  /** Ends the tar, compresses it, and puts it into the layout. */
  async finish(layout: LayoutWriter, compression: Compression): Promise<BuiltLayer> {
    this.#pack.finalize();
    await this.#written;
    const diffId = `sha256:${this.#hash.digest('hex')}`;
    const blob = await compress(this.#path, compression);
    return { descriptor: await layout.addFile(blob, mediaTypes.layer[compression]), diffId };
  }
}

async function compress(path: string, compression: Compression): Promise<string> {
  if (compression === 'plain') return path;
  const target = `${path}.${compression}`;
  if (compression === 'zstd') await promisify(execFile)('zstd', ['--quiet', '--force', '-3', path, '-o', target]);
  else await pipeline(createReadStream(path), createGzip({ level: 6 }), createWriteStream(target));
  await stat(target);
  return target;
}

/** zstd is a program of its own, which a small machine may lack. */
export async function zstdOrGzip(): Promise<Compression> {
  return await promisify(execFile)('zstd', ['--version']).then(
    () => 'zstd' as const,
    () => 'gzip' as const,
  );
}
