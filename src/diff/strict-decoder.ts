import { once } from 'node:events';
import { open, type FileHandle } from 'node:fs/promises';
import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { errnoOf, CodedError } from '../errors.js';
import type { Compression } from './media-types.js';

const chunkBytes = 1024 * 1024;

/** A decompressor of node:zlib: `bytesWritten` counts the compressed bytes that it made use of. */
type Decoder = Transform & { readonly bytesWritten: number };
type CreateDecoder = (options: { chunkSize: number }) => Decoder;

/** Undefined where this Node cannot: zstd came with 22.15 and 23.8, and the types in use are those of Node 20. */
export function nodeDecoder(compression: Exclude<Compression, 'none'>): CreateDecoder | undefined {
  if (compression === 'gzip') return zlib.createGunzip;
  return (zlib as { createZstdDecompress?: CreateDecoder }).createZstdDecompress;
}

export interface DecodeOptions {
  readonly path: string;
  readonly compression: Exclude<Compression, 'none'>;
  readonly create: CreateDecoder;
  /** Takes each part of the output, which is awaited before the next. */
  readonly write: (part: Uint8Array) => Promise<void>;
  readonly signal: AbortSignal;
}

/**
 * Decompresses a whole file with node:zlib, whose work is done off the main thread. Members and frames may follow each other;
 * anything else after the end, and an end that is missing, is an error: node:zlib alone ignores most of it.
 *
 * @returns the number of bytes written
 * @throws CodedError `invalid-argument` with the offsets in input and output; what `write` and `signal` throw
 */
export async function decodeStrictly(o: DecodeOptions): Promise<number> {
  const file = await open(o.path, 'r');
  try {
    const { size } = await file.stat();
    const progress = { input: 0, output: 0 };
    do {
      o.signal.throwIfAborted();
      const skipped = o.compression === 'zstd' ? await skippableFrame(file, progress.input) : 0;
      if (progress.input + skipped > size) throw undecodable(o, 'it ends inside a skippable frame', progress);
      const used = skipped > 0 ? skipped : await decodeOnce(file, o, progress);
      if (used === 0 && progress.input < size) throw undecodable(o, 'what follows is no compressed data', progress);
      progress.input += used;
    } while (progress.input < size);
    return progress.output;
  } finally {
    await file.close();
  }
}

interface Progress {
  input: number;
  output: number;
}

/** Decodes from `progress.input` until the decoder says that its data has ended. @returns the input bytes it made use of */
async function decodeOnce(file: FileHandle, o: DecodeOptions, progress: Progress): Promise<number> {
  const decoder = o.create({ chunkSize: chunkBytes });
  // `close` comes after whatever else: an error may still follow `end`, when the input ends inside a second member.
  const closed = new Promise<void>((resolve) => decoder.once('close', () => resolve()));
  const state: { error?: Error; ended: boolean; writing: Promise<void> } = { ended: false, writing: Promise.resolve() };
  const fail = (error: unknown) => {
    state.error ??= error instanceof Error ? error : new Error(String(error));
    decoder.destroy();
  };
  decoder.on('error', fail);
  decoder.once('end', () => (state.ended = true));
  decoder.on('data', (part: Uint8Array) => {
    decoder.pause();
    progress.output += part.length;
    state.writing = o.write(part).then(() => void decoder.resume(), fail);
  });
  const aborted = () => fail(o.signal.reason);
  o.signal.addEventListener('abort', aborted, { once: true });
  try {
    const given = await feed(file, decoder, progress.input, closed, () => state.ended);
    if (state.ended && decoder.bytesWritten < given) decoder.destroy();
    else if (!decoder.destroyed) decoder.end();
    await closed;
    await state.writing; // it uses what the caller closes
  } finally {
    o.signal.removeEventListener('abort', aborted);
    decoder.destroy();
  }
  if (state.error === undefined) return decoder.bytesWritten;
  if (!/^(Z_|ZSTD_)/.test(errnoOf(state.error) ?? '')) throw state.error;
  const reached = { input: progress.input + decoder.bytesWritten, output: progress.output };
  throw undecodable(o, state.error.message, reached, state.error);
}

/** @returns the number of bytes that the decoder was given: less than the rest of the file when it ended before */
async function feed(file: FileHandle, decoder: Decoder, from: number, closed: Promise<void>, ended: () => boolean) {
  let position = from;
  while (!decoder.destroyed && !ended()) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, position);
    if (bytesRead === 0) break;
    position += bytesRead;
    if (decoder.write(buffer.subarray(0, bytesRead))) continue;
    const over = new AbortController();
    const drained = once(decoder, 'drain', { signal: over.signal }).catch(() => undefined);
    const end = once(decoder, 'end', { signal: over.signal }).catch(() => undefined);
    await Promise.race([drained, end, closed]);
    over.abort();
  }
  return position - from;
}

/** The length of the skippable frame at `offset`, or 0 (RFC 8878, section 3.1.2). */
async function skippableFrame(file: FileHandle, offset: number): Promise<number> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(8), 0, 8, offset);
  if (bytesRead < 8 || buffer.readUInt32LE(0) >>> 4 !== 0x184d2a5) return 0;
  return 8 + buffer.readUInt32LE(4);
}

function undecodable(o: DecodeOptions, problem: string, { input, output }: Progress, cause?: unknown): CodedError {
  return new CodedError(
    'invalid-argument',
    `the layer is not sound ${o.compression}: ${problem} (${input} bytes in, ${output} bytes out)`,
    { facts: { compressedOffset: input, tarOffset: output }, next: 'build or push the image again', cause },
  );
}
