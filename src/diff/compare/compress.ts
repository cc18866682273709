import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import { requireFreeBytes, run } from '../../host/index.js';
import type { Compression } from '../media-types.js';

export interface CompressOptions {
  readonly compression: Compression;
  /** Where temporary data goes when a program compresses. */
  readonly temporary: (purpose: string) => string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

export type Bytes = AsyncIterable<Uint8Array>;

/** Bytes that a compressor is given and gives at once. */
const partBytes = 256 * 1024;

/** Bytes that a tar on the disk leaves free, for the records of everything else there. */
const reserveBytes = 64 * 1024 * 1024;
/** Bytes that are written between two looks at what is free. */
const stretchBytes = 16 * 1024 * 1024;

/**
 * The same bytes give the same result: one thread, fixed levels, and no time or name in a header. node:zlib compresses in
 * libuv's threads, so calls that come meanwhile are answered.
 */
export function compressed(source: Bytes, o: CompressOptions): Bytes {
  const parts = inParts(source, partBytes);
  if (o.compression === 'none') return parts;
  if (o.compression === 'gzip') return through(parts, () => zlib.createGzip({ chunkSize: partBytes }));
  const { createZstdCompress } = zlib as { createZstdCompress?: () => Transform };
  return createZstdCompress ? through(parts, createZstdCompress) : compressedByProgram(parts, o);
}

async function* through(source: Bytes, create: () => Transform): AsyncGenerator<Uint8Array, void, undefined> {
  const transform = create();
  const feeding = pipeline(source, transform);
  // Its failure ends the loop below as well, which is where it is taken.
  feeding.catch(() => undefined);
  try {
    for await (const part of transform) yield part as Uint8Array;
    await feeding;
  } finally {
    transform.destroy();
    await feeding.catch(() => undefined);
  }
}

/**
 * For a Node without zstd (before 22.15): the program reads a file and writes a file, both below the snapshotter's root.
 *
 * @throws CodedError `resource-exhausted` when the tar, in which holes are zeros, would leave less than 64 MiB free
 */
export async function* compressedByProgram(
  source: Bytes,
  o: Omit<CompressOptions, 'compression'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const [tarPath, zstdPath] = [o.temporary('layer.tar'), o.temporary('layer.tar.zst')];
  try {
    const tar = await open(tarPath, 'wx+', 0o600);
    try {
      for await (const part of withRoom(source, dirname(tarPath))) await tar.appendFile(part);
      await compressFile(tarPath, zstdPath, o);
    } finally {
      await tar.close();
    }
    yield* createReadStream(zstdPath, { highWaterMark: partBytes, signal: o.signal }) as Bytes;
  } finally {
    for (const path of [tarPath, zstdPath]) await rm(path, { force: true });
  }
}

async function* withRoom(source: Bytes, folder: string): AsyncGenerator<Uint8Array, void, undefined> {
  let checked = 0;
  for await (const part of source) {
    checked -= part.length;
    if (checked < 0) {
      checked = stretchBytes;
      await requireFreeBytes(folder, stretchBytes + reserveBytes, 'a layer that is to be compressed');
    }
    yield part;
  }
}

async function compressFile(
  tarPath: string,
  zstdPath: string,
  o: Pick<CompressOptions, 'deadlineMs' | 'signal'>,
): Promise<void> {
  const input = await open(tarPath, 'r');
  try {
    const output = await open(zstdPath, 'wx', 0o600);
    try {
      await run('zstd', ['-3', '--single-thread', '--quiet', '--stdout'], {
        stdin: input.fd,
        stdout: output.fd,
        deadlineMs: o.deadlineMs,
        signal: o.signal,
        what: 'compressing a layer',
      });
    } finally {
      await output.close();
    }
  } finally {
    await input.close();
  }
}

/** Joins what comes in small parts, such as headers: each part costs a turn through everything that follows. */
export async function* inParts(source: Bytes, bytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  let part = Buffer.allocUnsafe(bytes);
  let filled = 0;
  for await (const given of source) {
    for (let at = 0; at < given.length;) {
      const taken = Math.min(given.length - at, bytes - filled);
      part.set(given.subarray(at, at + taken), filled);
      at += taken;
      filled += taken;
      if (filled < bytes) continue;
      yield part;
      part = Buffer.allocUnsafe(bytes);
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}
