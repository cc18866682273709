import { constants } from 'node:fs';
import { copyFile, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode, SnapshotterError } from '../errors.js';
import { freeBytes, requireFreeBytes } from '../host/index.js';
import type { Implied } from '../erofs/index.js';
import type { Digest } from '../vocabulary.js';
import { decompress, decompressArriving, type DecompressArrivingOptions, type SizeLimit } from './decompress.js';
import type { ArrivingFile } from './follow.js';
import type { InspectionResult } from './inspection.js';
import type { Inspector } from './inspector.js';
import type { Compression } from './media-types.js';
import type { TarFindings } from './tar-check.js';
import { describeMissingFolders, mendingBytes } from './tar-mend.js';

/** The compressed layer as a file on this machine, its digest not yet checked. */
export interface LocatedLayer {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** What the content must hash to. */
  readonly digest: Digest;
}

/** A layer's tar, checked and ready for mkfs.erofs. */
export interface UnpackedLayer {
  readonly tarPath: string;
  /** What the layer's tar has no entries for. */
  readonly implied: Implied;
  /** The digest of the whole tar (the diff ID) and its size. Of a plain tar it is taken only now. */
  readonly diff: LateDigest;
}

interface DigestAndSize {
  readonly digest: Digest;
  readonly size: number;
}

interface LateDigest {
  readonly get: () => Promise<DigestAndSize>;
}

export interface UnpackOptions {
  readonly layer: LocatedLayer;
  /** What the tar must hash to, as far as its image says so. A tar that does needs no further proof. */
  readonly expectedDiffId?: Digest | undefined;
  readonly compression: Compression;
  /** A path for the tar, beside the layer's place; its caller removes what is there in the end. */
  readonly temporaryTar: string;
  readonly inspector: Inspector;
  /** Bytes that a layer's tar may have, at most. */
  readonly maxLayerBytes: number;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** Bytes that stay free on the disk whatever a layer unpacks to, for the daemon's own records and its neighbours. */
const reservedBytes = 64 * 1024 * 1024;

/**
 * Makes a layer a checked tar file. A plain tar is taken where it lies; a compressed one is written once, and its digest, the
 * tar's digest and the check of its headers are taken by another thread while the decompressor writes.
 *
 * @throws SnapshotterError `data-loss` when the content does not have its digest, whatever else is wrong with it then;
 *   `invalid-argument` malformed content; `resource-exhausted`, `deadline-exceeded`, `cancelled`
 */
export async function unpack(o: UnpackOptions): Promise<UnpackedLayer> {
  return o.compression === 'none' ? takePlain(o) : unpackCompressed(o, o.compression);
}

async function takePlain(o: UnpackOptions): Promise<UnpackedLayer> {
  const { layer, inspector } = o;
  const digest = contentDigest(o);
  // The headers alone are read quickly; the digest is then taken while mkfs.erofs runs.
  const headers = orAborted(inspector.inspect({ path: layer.path, digest: false, tar: true }).finish(), o.signal);
  const { tar } = await orWrongDigest(digest, headers);
  const missing = tar?.missingFolders.length ?? 0;
  const copyBytes = tar && missing > 0 ? layer.size + mendingBytes(tar) : 0;
  await requireFreeBytes(dirname(o.temporaryTar), layer.size + copyBytes, `layer ${layer.digest}`);
  const implied = impliedBy(tar);
  if (!tar || missing === 0) return { tarPath: layer.path, implied, diff: digest };
  await copyFile(layer.path, o.temporaryTar, constants.COPYFILE_FICLONE);
  await describeMissingFolders(o.temporaryTar, tar);
  return { tarPath: o.temporaryTar, implied, diff: digest };
}

function impliedBy(tar: TarFindings | undefined): Implied {
  return { root: tar?.describesRoot === false, folders: (tar?.missingFolders.length ?? 0) > 0 };
}

async function unpackCompressed(o: UnpackOptions, compression: Exclude<Compression, 'none'>): Promise<UnpackedLayer> {
  const { layer } = o;
  const folder = dirname(o.temporaryTar);
  // The tar and then the image, neither of which is smaller than the compressed layer.
  await requireFreeBytes(folder, 2 * layer.size, `layer ${layer.digest}`);
  const limit = await sizeLimit(o, folder);
  const content = contentDigest(o);
  const inspecting = inspectWhile(o, (to) => decompress({ source: layer, compression, limit, ...to }));
  const found = await orWrongDigest(content, inspecting);
  if (found.digest !== o.expectedDiffId) await content.get();
  return mended(o, found);
}

export interface UnpackArrivingOptions extends Omit<UnpackOptions, 'layer' | 'compression' | 'expectedDiffId'> {
  readonly layer: ArrivingFile & { readonly digest: Digest };
  readonly compression: Exclude<Compression, 'none'>;
  readonly expectedDiffId: Digest;
}

/**
 * Does the same with a layer that is still being fetched. Its bytes are read once, before anybody has checked them, so the tar is
 * worth nothing unless it hashes to what its image says.
 *
 * @throws SnapshotterError as `unpack`; `data-loss` for a tar with another digest; `unavailable` when the fetch ends early
 */
export async function unpackArriving(o: UnpackArrivingOptions): Promise<UnpackedLayer> {
  const { layer, compression, expectedDiffId } = o;
  const folder = dirname(o.temporaryTar);
  await requireFreeBytes(folder, 2 * layer.size, `layer ${layer.digest}`);
  const limit = await sizeLimit(o, folder);
  const found = await inspectWhile(o, (to) => decompressArriving({ source: layer, compression, limit, ...to }));
  if (found.digest !== expectedDiffId) throw wrongDigest(expectedDiffId, found.digest, o.temporaryTar);
  return mended(o, found);
}

/** Makes the image's tar of what was inspected: with the folders that it implies, if there is room. */
async function mended(
  {
    layer,
    temporaryTar,
  }: Pick<UnpackArrivingOptions, 'temporaryTar'> & { readonly layer: { readonly digest: Digest } },
  { digest, size, tar }: InspectionResult,
): Promise<UnpackedLayer> {
  await requireFreeBytes(
    dirname(temporaryTar),
    size + (tar ? mendingBytes(tar) : 0),
    `the image of layer ${layer.digest}`,
  );
  if (tar && tar.missingFolders.length > 0) await describeMissingFolders(temporaryTar, tar);
  const diff = { get: () => Promise.resolve({ digest: mustHave(digest), size }) };
  return { tarPath: temporaryTar, implied: impliedBy(tar), diff };
}

/** Reads the temporary tar in another thread while `write` makes it. */
async function inspectWhile(
  {
    temporaryTar,
    inspector,
    deadlineMs,
    signal,
  }: Pick<UnpackOptions, 'temporaryTar' | 'inspector' | 'deadlineMs' | 'signal'>,
  write: (to: Pick<DecompressArrivingOptions, 'output' | 'onGrowth' | 'deadlineMs' | 'signal'>) => Promise<void>,
): Promise<InspectionResult> {
  await (await open(temporaryTar, 'wx', 0o600)).close();
  const tar = inspector.inspect({ path: temporaryTar, digest: true, tar: true });
  // A tar that is refused early need not be decompressed to its end.
  const stop = new AbortController();
  void tar.refused.then((error) => stop.abort(error));
  await write({
    output: temporaryTar,
    onGrowth: tar.advance,
    deadlineMs,
    signal: AbortSignal.any([signal, stop.signal]),
  });
  return orAborted(tar.finish(), signal);
}

/** Checks the content against the layer's digest: begun when first wanted, and then done once. */
function contentDigest({ layer, inspector, signal }: UnpackOptions): LateDigest {
  let content: Promise<DigestAndSize> | undefined;
  const begin = async (): Promise<DigestAndSize> => {
    const inspecting = inspector.inspect({ path: layer.path, digest: true, tar: false });
    const { digest, size } = await orAborted(inspecting.finish(), signal);
    if (digest === layer.digest) return { digest, size };
    throw wrongDigest(layer.digest, digest, layer.path);
  };
  return { get: () => (content ??= begin()) };
}

/** A reading that is not wanted any more ends with its thread, when the inspector is given back. */
function orAborted<T>(reading: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, stop } = rejectionOf(signal);
  return Promise.race([reading, aborted]).finally(stop);
}

function rejectionOf(signal: AbortSignal): { readonly promise: Promise<never>; readonly stop: () => void } {
  let abort: () => void = () => undefined;
  const promise = new Promise<never>((_resolve, reject) => {
    abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
  return { promise, stop: () => signal.removeEventListener('abort', abort) };
}

export function wrongDigest(expected: Digest, found: Digest | undefined, path: string): SnapshotterError {
  return new SnapshotterError('data-loss', `the layer's content has digest ${found}, and ${expected} was expected`, {
    facts: { expected, path, ...(found === undefined ? {} : { found }) },
    next: 'remove the image and pull it again',
  });
}

/** Content that is not what its digest says explains whatever else is wrong with it. */
async function orWrongDigest<T>(content: LateDigest, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (isCode(error, 'invalid-argument')) await content.get();
    throw error;
  }
}

async function sizeLimit(
  { layer, maxLayerBytes }: { readonly layer: Pick<LocatedLayer, 'size' | 'digest'>; readonly maxLayerBytes: number },
  folder: string,
): Promise<SizeLimit> {
  const free = await freeBytes(folder);
  const room = Math.max(0, free - reservedBytes);
  if (maxLayerBytes <= room) {
    return {
      bytes: maxLayerBytes,
      error: () =>
        new SnapshotterError('invalid-argument', `layer ${layer.digest} unpacks to more than ${maxLayerBytes} bytes`, {
          facts: { limitBytes: maxLayerBytes, compressedBytes: layer.size },
          next: 'raise max_layer_size in the configuration if you trust the image',
        }),
    };
  }
  return {
    bytes: room,
    error: () =>
      new SnapshotterError(
        'resource-exhausted',
        `layer ${layer.digest} unpacks to more than fits at ${folder}, where ${free} bytes are free`,
        { facts: { path: folder, freeBytes: free }, next: 'free disk space and try again' },
      ),
  };
}

function mustHave(digest: Digest | undefined): Digest {
  if (digest !== undefined) return digest;
  throw new SnapshotterError('internal', 'a digest was asked for and not taken');
}
