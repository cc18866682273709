import { watch } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, isCode, SnapshotterError } from '../errors.js';
import { freeBytes, run, type RunOptions } from '../host/index.js';
import { bounded, findDecompressionTool, type DecompressionTool } from './decompression-tools.js';
import { follow, type ArrivingFile } from './follow.js';
import type { Compression } from './media-types.js';
import { decodeStrictly, nodeDecoder } from './strict-decoder.js';

/** Up to here a program takes longer to start than node:zlib to finish, and node:zlib says where the data is wrong. */
const smallBytes = 256 * 1024;

/** Where fewer bytes are free a disk counts as full: the rest may be what the file system keeps for itself. */
const fullBelowBytes = 1024 * 1024;

/** Milliseconds between two reports of growth. */
const growthMs = 10;

export interface DecompressOptions {
  readonly source: { readonly path: string; readonly size: number };
  readonly compression: Exclude<Compression, 'none'>;
  /** An empty file. It may be left half written: its caller removes it. */
  readonly output: string;
  readonly limit: SizeLimit;
  /** Called when the output has grown. */
  readonly onGrowth: () => void;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** How large the output may become, and what is wrong when it would become larger. */
export interface SizeLimit {
  readonly bytes: number;
  readonly error: () => SnapshotterError;
}

/**
 * Decompresses a file to a file, by the fastest means at hand.
 *
 * @throws SnapshotterError `invalid-argument` malformed data; the limit's error; `failed-precondition` nothing here reads zstd;
 *   `resource-exhausted`, `deadline-exceeded`, `cancelled`
 */
export async function decompress(o: DecompressOptions): Promise<void> {
  await checkMagic(o);
  const small = o.source.size <= smallBytes && nodeDecoder(o.compression) !== undefined;
  const tool = small ? undefined : await findDecompressionTool(o.compression);
  if (!tool) return decompressHere(o);
  try {
    await runToolOnFile(tool, o);
  } catch (error) {
    if (!isComplaint(error)) throw error;
    // Programs do not tell where the data is wrong; the decoder here does, and has the last word.
    const bytes = await decodeAgain(o);
    throw (
      (await outOfSpace(error, o, bytes)) ?? (bytes === undefined ? malformedBy(error, o) : failedOnSound(error, o))
    );
  }
  if (o.compression === 'gzip' && !(await isOneMember(o))) await confirmSize(o);
}

/** What is decompressed while it arrives: there is no second look at it, so its caller must know what it makes. */
export interface DecompressArrivingOptions extends Omit<DecompressOptions, 'source'> {
  readonly source: ArrivingFile;
}

/**
 * Decompresses a file while somebody still writes it. Nothing but the digest of what it makes proves it right.
 *
 * @throws SnapshotterError as `decompress`, and what {@link follow} throws
 */
export async function decompressArriving(o: DecompressArrivingOptions): Promise<void> {
  const tool = await findDecompressionTool(o.compression);
  if (!tool) throw new SnapshotterError('failed-precondition', `no program here reads ${o.compression}`);
  await runTool(tool, o, {
    feed: (write, gone) => follow(o.source, write, AbortSignal.any([o.signal, gone])),
  });
}

const magics: Readonly<Record<Exclude<Compression, 'none'>, (first: Buffer) => boolean>> = {
  gzip: (first) => first.length >= 3 && first.readUIntBE(0, 3) === 0x1f8b08,
  zstd: (first) =>
    first.length >= 4 && (first.readUInt32LE(0) === 0xfd2fb528 || first.readUInt32LE(0) >>> 4 === 0x184d2a5),
};

/** Programs guess: `zstd` reads gzip too, and a layer must be what its media type says. */
async function checkMagic({ source, compression }: DecompressOptions): Promise<void> {
  const first = await readAt(source.path, 0, 4);
  if (magics[compression](first)) return;
  throw new SnapshotterError(
    'invalid-argument',
    `the layer is not ${compression}: it begins with ${first.toString('hex') || 'nothing'}`,
    {
      facts: { firstBytes: first.toString('hex'), size: source.size },
      next: 'push the image with the media type of its layers',
    },
  );
}

async function runToolOnFile(tool: DecompressionTool, o: DecompressOptions): Promise<void> {
  const input = await open(o.source.path, 'r');
  try {
    await runTool(tool, o, { stdin: input.fd });
  } finally {
    await input.close();
  }
}

async function runTool(
  tool: DecompressionTool,
  o: Omit<DecompressOptions, 'source'>,
  input: Pick<RunOptions, 'stdin' | 'feed'>,
): Promise<void> {
  const command = bounded(tool, o.limit.bytes);
  const output = await open(o.output, 'r+');
  // Tells of growth as it happens. It only saves time, so where the system has no watches left nothing is lost.
  const watcher = watchQuietly(o.output, o.onGrowth);
  try {
    await run(command.tool, command.args, {
      ...input,
      stdout: output.fd,
      deadlineMs: o.deadlineMs,
      signal: o.signal,
      what: 'decompressing a layer',
    });
  } catch (error) {
    if ((await output.stat()).size >= o.limit.bytes && isCode(error, 'internal')) throw o.limit.error();
    throw error;
  } finally {
    watcher?.close();
    await output.close();
  }
}

/** Tells of growth now and then: a program may write in pieces of 32 KiB. */
function watchQuietly(path: string, onGrowth: () => void): { close(): void } | undefined {
  let due: NodeJS.Timeout | undefined;
  const tell = () => {
    due = undefined;
    onGrowth();
  };
  try {
    const watcher = watch(path, { persistent: false }, () => (due ??= setTimeout(tell, growthMs)));
    watcher.on('error', () => watcher.close());
    watcher.on('close', () => clearTimeout(due));
    return watcher;
  } catch {
    return undefined;
  }
}

async function decompressHere(o: DecompressOptions): Promise<void> {
  const create = nodeDecoder(o.compression);
  if (!create) {
    throw new SnapshotterError('failed-precondition', 'nothing on this machine reads zstd layers', {
      facts: { node: process.versions.node },
      next: 'install the programs zstd and prlimit (util-linux), or run Node.js 22.15 or later',
    });
  }
  const output = await open(o.output, 'r+');
  let bytes = 0;
  try {
    const write = async (part: Uint8Array) => {
      bytes += part.length;
      if (bytes > o.limit.bytes) throw o.limit.error();
      for (let at = 0; at < part.length;) at += (await output.write(part, at)).bytesWritten;
      o.onGrowth();
    };
    await decodeStrictly({ path: o.source.path, compression: o.compression, create, write, signal: o.signal });
  } finally {
    await output.close();
  }
}

/**
 * igzip and pigz ignore what follows a member when it does not begin like another one, and still exit with 0. The last four bytes
 * of a single member are the size of its data; when they are not, either there are several members or something follows.
 */
async function isOneMember({ source, output }: DecompressOptions): Promise<boolean> {
  const last = await readAt(source.path, source.size - 4, 4);
  const { size } = await stat(output);
  return last.readUInt32LE(0) === size % 2 ** 32;
}

async function confirmSize(o: DecompressOptions): Promise<void> {
  const bytes = await decodeAgain(o);
  const { size } = await stat(o.output);
  if (bytes === undefined || bytes === size) return;
  throw new SnapshotterError('internal', `two decompressors made ${size} and ${bytes} bytes of the same layer`, {
    facts: { path: o.source.path },
  });
}

/** Reads everything once more with the decoder that ignores nothing and knows its offsets. @returns the bytes it makes */
async function decodeAgain(o: DecompressOptions): Promise<number | undefined> {
  const create = nodeDecoder(o.compression);
  if (!create) return undefined;
  let bytes = 0;
  const write = (part: Uint8Array): Promise<void> => {
    bytes += part.length;
    return bytes > o.limit.bytes ? Promise.reject(o.limit.error()) : Promise.resolve();
  };
  return decodeStrictly({ path: o.source.path, compression: o.compression, create, write, signal: o.signal });
}

/** True when the program ended by itself, so that it is about the data; a killed one says nothing about that. */
function isComplaint(error: unknown): error is SnapshotterError {
  return isCode(error, 'internal') && error.facts['exitCode'] !== undefined;
}

/**
 * Not all programs say that the disk was full when it was: a neighbour may have taken the space after the limit was set.
 *
 * @param bytes the size of the whole tar, where it is known
 */
async function outOfSpace(cause: SnapshotterError, { output }: DecompressOptions, bytes = 0) {
  const path = dirname(output);
  const [free, { size }] = await Promise.all([freeBytes(path), stat(output)]);
  if (free >= Math.max(bytes - size, fullBelowBytes)) return undefined;
  return new SnapshotterError(
    'resource-exhausted',
    `a layer unpacks to more than fits at ${path}, where ${free} bytes are free`,
    {
      facts: { path, freeBytes: free },
      next: 'free disk space and try again',
      cause,
    },
  );
}

/** What a program that found fault with data that a second decoder reads to its end said: it is not about the data. */
function failedOnSound(error: SnapshotterError, { compression }: DecompressOptions): SnapshotterError {
  return new SnapshotterError('internal', `the layer is sound ${compression}, and yet ${error.message}`, {
    facts: error.facts,
    cause: error,
  });
}

/** What a program that found fault with its input said, when no second decoder does. */
function malformedBy(error: SnapshotterError, { compression }: DecompressOptions): SnapshotterError {
  return new SnapshotterError('invalid-argument', `the layer is not sound ${compression}: ${error.message}`, {
    facts: error.facts,
    next: 'build or push the image again',
    cause: error,
  });
}

async function readAt(path: string, position: number, bytes: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(bytes), 0, bytes, Math.max(0, position));
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new SnapshotterError('not-found', `the layer's content is gone from ${path}`, {
      facts: { path },
      next: 'pull the image again',
      cause: error,
    });
  } finally {
    await file.close();
  }
}
