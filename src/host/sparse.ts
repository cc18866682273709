import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { errnoOf } from '../errors.js';
import { run, type RunOptions } from './exec.js';
import { punchHole, seekData, seekHole } from './libc.js';

export interface Region {
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

/** The parts of a file that are not holes, in order. A filesystem without holes answers one region: the file. */
export async function dataRegions(path: string): Promise<Region[]> {
  const file = await open(path, 'r');
  try {
    return dataRegionsOf(file.fd);
  } finally {
    await file.close();
  }
}

/** The same of an open file, whose position it moves. */
export function dataRegionsOf(fd: number): Region[] {
  const regions: Region[] = [];
  let from = seekData(fd, 0);
  while (from !== undefined) {
    const end = seekHole(fd, from);
    regions.push({ offset: from, length: end - from });
    from = seekData(fd, end);
  }
  return regions;
}

/** Bytes. Zeros shorter than this stay as they are: each hole costs the filesystem a record. */
const shortestHole = 64 * 1024;
const zeros = Buffer.alloc(shortestHole);
/** Bytes read, and dug at once at most, before other work gets its turn. */
const stretch = 16 * shortestHole;

/**
 * Makes holes of long runs of zeros in a file, whose bytes and size stay what they are.
 *
 * @returns how many bytes were dug out: 0 on a filesystem without holes
 */
export async function digHoles(path: string, signal?: AbortSignal): Promise<number> {
  const file = await open(path, 'r+');
  try {
    const buffer = Buffer.allocUnsafe(stretch);
    let dug = 0;
    for (const { offset, length } of dataRegionsOf(file.fd)) {
      const end = offset + length;
      for (let at = Math.ceil(offset / shortestHole) * shortestHole; at < end; at += stretch) {
        signal?.throwIfAborted();
        const { bytesRead } = await file.read(buffer, 0, Math.min(stretch, end - at), at);
        for (const run of zeroRuns(buffer.subarray(0, bytesRead))) {
          punchHole(file.fd, at + run.offset, run.length);
          dug += run.length;
        }
      }
    }
    return dug;
  } catch (error) {
    if (errnoOf(error) === 'ENOTSUP') return 0;
    throw error;
  } finally {
    await file.close();
  }
}

/** Whole pieces of `shortestHole` that are zeros, those side by side as one. */
function* zeroRuns(bytes: Buffer): Generator<Region> {
  let start = 0;
  for (let at = 0; at <= bytes.length; at += shortestHole) {
    // Comparing ends at the first byte that is not zero, so this costs nothing where there is data.
    if (at + shortestHole <= bytes.length && zeros.equals(bytes.subarray(at, at + shortestHole))) continue;
    if (at > start) yield { offset: start, length: at - start };
    start = at + shortestHole;
  }
}

/** What the files of a tree that are larger than `shortestHole` take, in bytes. */
export interface LargeFiles {
  /** As they read. */
  readonly apparentBytes: number;
  /** On disk. */
  readonly bytes: number;
  /** Of each file what it reads as and does not take. */
  readonly holes: number;
  /** The largest one, as it reads. */
  readonly largest: number;
}

/**
 * Looks at the sizes of a tree's files, below its own filesystem alone: in a process, since a tree may have a million of them.
 *
 * @param scratch a name for a temporary file
 * @throws CodedError as `run` does
 */
export async function largeFiles(
  directory: string,
  o: Pick<RunOptions, 'deadlineMs' | 'signal' | 'mountNamespace'> & { readonly scratch: string },
): Promise<LargeFiles> {
  const { scratch, ...options } = o;
  try {
    const found = await open(scratch, 'wx', 0o600);
    try {
      // Units of 512 bytes, rounded up.
      const test = ['-type', 'f', '-size', `+${shortestHole / 512}`, '-printf', '%s %b %n %i\\n'];
      const what = `looking at the sizes of files in ${directory}`;
      await run('find', [directory, '-xdev', ...test], { ...options, stdout: found.fd, what });
    } finally {
      await found.close();
    }
    let [apparentBytes, bytes, holes, largest] = [0, 0, 0, 0];
    const linked = new Set<number>();
    for await (const line of createInterface({ input: createReadStream(scratch) })) {
      const [size = 0, blocks = 0, links = 1, inode = 0] = line.split(' ').map(Number);
      if (links > 1 && linked.has(inode)) continue;
      if (links > 1) linked.add(inode);
      apparentBytes += size;
      bytes += blocks * 512;
      holes += Math.max(0, size - blocks * 512);
      largest = Math.max(largest, size);
    }
    return { apparentBytes, bytes, holes, largest };
  } finally {
    await rm(scratch, { force: true });
  }
}
