import { open } from 'node:fs/promises';
import { Socket } from 'node:net';
import { errnoOf, isCode, CodedError } from '../errors.js';
import { run, type PipeEnd, type RunOptions } from '../host/index.js';
import { findDecompressionTool, type DecompressionTool } from './decompression-tools.js';
import { follow, type ArrivingFile } from './ahead/follow.js';
import type { Compression } from './media-types.js';
import type { SizeLimit } from './size-limit.js';
import { decodeStrictly, nodeDecoder } from './strict-decoder.js';

/** Up to here a program takes longer to start than node:zlib to finish, and node:zlib says where the data is wrong. */
const smallBytes = 256 * 1024;

export interface DecompressOptions {
  readonly source: { readonly path: string; readonly size: number };
  /** As `compressionOf` found it in the bytes: programs guess as well, `zstd` reads gzip too. */
  readonly compression: Exclude<Compression, 'none'>;
  /** Its reader bounds what comes. Closed, or to be closed, when this has ended. */
  readonly output: PipeEnd;
  /** Bounds what is decompressed to find out what a program found wrong. */
  readonly limit: SizeLimit;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/**
 * Decompresses a file into a pipe, by the fastest means at hand. What came is not known to be everything before `confirmWhole`.
 *
 * @throws CodedError `invalid-argument` malformed data; the limit's error; `failed-precondition` nothing here reads zstd;
 *   `deadline-exceeded`, `cancelled`, or the signal's own reason
 */
export async function decompress(o: DecompressOptions): Promise<void> {
  const small = o.source.size <= smallBytes && nodeDecoder(o.compression) !== undefined;
  const tool = small ? undefined : await findDecompressionTool(o.compression);
  if (!tool) return decompressHere(o);
  try {
    await runToolOnFile(tool, o);
  } catch (error) {
    if (!isComplaint(error)) throw error;
    // Programs do not tell where the data is wrong; the decoder here does, and has the last word.
    const sound = (await decodeAgain(o)) !== undefined;
    throw sound ? failedOnSound(error, o) : malformedBy(error, o);
  }
}

/** What is decompressed while it arrives: there is no second look at it, so its caller must know what it makes. */
export interface DecompressArrivingOptions extends Omit<DecompressOptions, 'source' | 'limit'> {
  readonly source: ArrivingFile;
}

/**
 * Decompresses a file that is still being written. Nothing but the digest of what it makes proves it right.
 *
 * @throws CodedError as `decompress`, and what {@link follow} throws
 */
export async function decompressArriving(o: DecompressArrivingOptions): Promise<void> {
  const tool = await findDecompressionTool(o.compression);
  if (!tool) throw new CodedError('failed-precondition', `no program here reads ${o.compression}`);
  await runTool(tool, o, {
    feed: (write, gone) => follow(o.source, write, AbortSignal.any([o.signal, gone])),
  });
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
  { tool, args }: DecompressionTool,
  { output, deadlineMs, signal }: Pick<DecompressOptions, 'output' | 'deadlineMs' | 'signal'>,
  input: Pick<RunOptions, 'stdin' | 'feed'>,
): Promise<void> {
  await run(tool, args, {
    ...input,
    stdout: output.fd,
    // Readers must see the end when the tool is gone, also when this process ends.
    onStart: () => output.close(),
    deadlineMs,
    signal,
    what: 'decompressing a layer',
  });
}

async function decompressHere(o: DecompressOptions): Promise<void> {
  const create = nodeDecoder(o.compression);
  if (!create) {
    throw new CodedError('failed-precondition', 'nothing on this machine reads zstd layers', {
      facts: { node: process.versions.node },
      next: 'install the program zstd, or run Node.js 22.15 or later',
    });
  }
  // A socket, since writing to a full pipe as to a file would hold a thread that all files share.
  const output = new Socket({ fd: o.output.move(), readable: false, writable: true });
  output.on('error', () => undefined); // each write is told so
  const abort = () => output.destroy();
  o.signal.addEventListener('abort', abort, { once: true });
  // This process ends once its threads have: the one that reads waits for as long as this is open.
  process.once('exit', abort);
  const write = (part: Uint8Array) =>
    new Promise<void>((resolve, reject) => {
      output.write(part, (error) => (error ? reject(error) : resolve()));
    });
  try {
    await decodeStrictly({ path: o.source.path, compression: o.compression, create, write, signal: o.signal });
  } catch (error) {
    throw o.signal.aborted ? o.signal.reason : error;
  } finally {
    o.signal.removeEventListener('abort', abort);
    process.off('exit', abort);
    output.destroy();
  }
}

/**
 * igzip and pigz ignore what follows a member when it does not begin like another one, and still exit with 0. The last four bytes
 * of a single member are the size of its data; when they are not, either there are several members or something follows.
 *
 * @param bytes what came of the source
 * @throws CodedError `invalid-argument` when that is not everything
 */
export async function confirmWhole(o: Again, bytes: number): Promise<void> {
  if (o.compression !== 'gzip') return;
  const last = await readPart(o.source.path, o.source.size - 4, 4);
  if (last.readUInt32LE(0) === bytes % 2 ** 32) return;
  const again = await decodeAgain(o);
  if (again === undefined || again === bytes) return;
  throw new CodedError('internal', `two decompressors made ${bytes} and ${again} bytes of the same layer`, {
    facts: { path: o.source.path },
  });
}

type Again = Pick<DecompressOptions, 'source' | 'compression' | 'limit' | 'signal'>;

/** Reads everything once more with the decoder that ignores nothing and knows its offsets. @returns the bytes it makes */
async function decodeAgain(o: Again): Promise<number | undefined> {
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
function isComplaint(error: unknown): error is CodedError {
  return isCode(error, 'internal') && error.facts['exitCode'] !== undefined;
}

/** What a program that found fault with data that a second decoder reads to its end said: it is not about the data. */
function failedOnSound(error: CodedError, { compression }: DecompressOptions): CodedError {
  return new CodedError('internal', `the layer is sound ${compression}, and yet ${error.message}`, {
    facts: error.facts,
    cause: error,
  });
}

/** What a program that found fault with its input said, when no second decoder does. */
function malformedBy(error: CodedError, { compression }: DecompressOptions): CodedError {
  return new CodedError('invalid-argument', `the layer is not sound ${compression}: ${error.message}`, {
    facts: error.facts,
    next: 'build or push the image again',
    cause: error,
  });
}

/** @throws CodedError `not-found` when the file is gone */
export async function readPart(path: string, position: number, bytes: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(bytes), 0, bytes, Math.max(0, position));
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new CodedError('not-found', `the layer's content is gone from ${path}`, {
      facts: { path },
      next: 'pull the image again',
      cause: error,
    });
  } finally {
    await file.close();
  }
}
