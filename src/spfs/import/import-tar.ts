import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { errnoOf, CodedError } from '../../errors.js';
import type { ImportContext, Imported } from './context.js';
import { importBytes } from './layer-blob.js';

export interface ImportTarOptions extends ImportContext {
  /** Of a tar, plain or compressed with gzip or zstd. */
  readonly path: string;
}

const layerType = 'application/vnd.oci.image.layer.v1.tar';

/** How files begin. Sources: RFC 1952, RFC 8878, and the formats of xz, bzip2, lz4 and ZIP. */
const beginnings: readonly (readonly [hex: string, name: string, mediaType?: string])[] = [
  ['1f8b', 'gzip', `${layerType}+gzip`],
  ['28b52ffd', 'zstd', `${layerType}+zstd`],
  ['fd377a585a00', 'xz'],
  ['425a68', 'bzip2'],
  ['04224d18', 'lz4'],
  ['504b0304', 'ZIP'],
];

const partBytes = 1024 * 1024;

/**
 * Makes a tar a layer.
 *
 * @throws CodedError `not-found` no such file; `invalid-argument` not a file, or not a tar; `failed-precondition` it changed
 *   while it was read; what the content store, the differ and the snapshotter say
 */
export async function importTar(o: ImportTarOptions): Promise<Imported> {
  const { path, signal } = o;
  const file = await open(path, 'r').catch((error: unknown) => {
    throw unreadable(path, error);
  });
  try {
    const before = await file.stat({ bigint: true });
    if (!before.isFile()) throw notATar(path, before.isDirectory() ? 'it is a folder' : 'it is not a file');
    const mediaType = await mediaTypeOf(file, path);
    const verify = async () => {
      const after = await file.stat({ bigint: true });
      if (after.size === before.size && after.mtimeNs === before.mtimeNs) return;
      throw new CodedError('failed-precondition', `${path} changed while it was read`, {
        facts: { path },
        next: 'wait until it is written',
      });
    };
    const total = () => Number(before.size);
    return await importBytes({ content: contentOf(file, signal), mediaType, origin: path, total, verify }, o);
  } finally {
    await file.close();
  }
}

async function mediaTypeOf(file: FileHandle, path: string): Promise<string> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
  if (bytesRead === 0) throw notATar(path, 'it is empty');
  const start = buffer.subarray(0, bytesRead).toString('hex');
  const found = beginnings.find(([hex]) => start.startsWith(hex));
  if (found === undefined) return layerType;
  const [, name, mediaType] = found;
  if (mediaType === undefined) throw notATar(path, `it is compressed with ${name}`);
  return mediaType;
}

async function* contentOf(file: FileHandle, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; ;) {
    signal.throwIfAborted();
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(partBytes), 0, partBytes, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

function notATar(path: string, why: string): CodedError {
  return new CodedError('invalid-argument', `${path} is not a tar that can be a layer: ${why}`, {
    facts: { path },
    next: 'give a tar, plain or compressed with gzip or zstd',
  });
}

function unreadable(path: string, error: unknown): CodedError {
  const missing = errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
  const message = error instanceof Error ? error.message : String(error);
  return new CodedError(missing ? 'not-found' : 'failed-precondition', `${path} cannot be read: ${message}`, {
    facts: { path },
    next: missing ? 'give the path of a tar' : 'make it readable, or run this as root',
    cause: error,
  });
}
