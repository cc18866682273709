import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode, CodedError } from '../errors.js';
import { digHoles, largeFiles, outOfSpace, requireFreeBytes, run } from '../host/index.js';
import { convertDirectoryArguments, convertTarArguments } from './args.js';
import { recordImplied, type Implied } from './implied.js';
import { planFor, worthwhileHoles } from './sparse.js';
import { trustNotes } from './opaque.js';
import type { Superblock } from './superblock.js';
import { verifyLayer } from './verify.js';

/** What every run of mkfs.erofs needs to know. */
export interface ImageOptions {
  /** A temporary name chosen by the caller, who publishes the image. Replaced if it exists, removed on failure. */
  readonly output: string;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

export interface ConvertOptions extends ImageOptions {
  /** See `layerUuid`. */
  readonly uuid: string;
}

interface ConvertTarOptions extends ConvertOptions {
  /** A path, or what can be read from a descriptor, which is closed here as soon as the tool has it. */
  readonly tar: string | { readonly fd: number; readonly close: () => void };
  /** For messages; default: `converting <path> to EROFS`. */
  readonly what?: string;
  /**
   * What the layer's own tar has no entries for; in this one, folders have them, with the attributes `impliedFolder`. Left out
   * when the tar describes its root and every folder; a promise when that is known at the tar's end.
   */
  readonly implied?: Implied | Promise<Implied>;
}

export interface ConvertDirectoryOptions extends ConvertOptions {
  readonly directory: string;
  /** Where `directory` is mounted, if not everywhere: see `RunOptions.mountNamespace`. */
  readonly mountNamespace?: string;
  /** In which attributes an overlay whose upper it is keeps its notes; `trusted` unless given. */
  readonly notes?: 'trusted' | 'user';
}

/**
 * Turns an uncompressed tar into an image, verified. Its whiteouts are overlay's, 0/0 devices. What the tar
 * implies is written down in the image, for merging and `chainRootAttributes`; an implied root becomes 0755 root:root at time 0.
 *
 * @throws CodedError as `run` does, and `internal` when the tool succeeded but its output is not what was asked for.
 */
export async function convertTar(o: ConvertTarOptions): Promise<Superblock> {
  const { output, uuid, tar, implied } = o;
  const fromFile = typeof tar === 'string';
  return makeImage(o, {
    what: o.what ?? `converting ${fromFile ? tar : 'a tar'} to EROFS`,
    args: convertTarArguments({ output, uuid, ...(fromFile ? { tar } : {}) }),
    ...(fromFile ? {} : { stdin: tar }),
    check: async () => {
      await verifyLayer(output, uuid);
      if (implied) await recordImplied(output, await implied);
      return verifyLayer(output, uuid);
    },
  });
}

/**
 * Turns a directory into an image, verified: an overlay's upper directory keeps its whiteouts and opaque marks, which are
 * `trusted.overlay.opaque` in a layer whatever they were. Holes of its files stay holes.
 *
 * @throws CodedError as `convertTar` does; `resource-exhausted` before anything is written when it cannot fit.
 */
export async function convertDirectory(o: ConvertDirectoryOptions): Promise<Superblock> {
  const { output, uuid, directory, mountNamespace, deadlineMs, signal } = o;
  const what = `converting ${directory} to EROFS`;
  const files = await largeFiles(directory, { scratch: `${output}.sizes`, mountNamespace, deadlineMs, signal });
  const { chunks, writtenBytes } = planFor(files);
  // Without large files it fits as well as all else does.
  if (writtenBytes > 0) await requireFreeBytes(dirname(output), writtenBytes + reservedBytes, what);
  return makeImage(o, {
    what,
    args: convertDirectoryArguments({ output, uuid, directory, chunks }),
    mountNamespace,
    check: async () => {
      const superblock = await verifyLayer(output, uuid);
      const dig = !chunks && files.holes >= worthwhileHoles;
      if (o.notes !== 'user' && !dig) return superblock;
      if (o.notes === 'user') await trustNotes(output);
      if (dig) await digHoles(output, signal);
      return verifyLayer(output, uuid);
    },
  });
}

/** Bytes that stay free on the disk whatever a directory holds, for the daemon's own records and its neighbours. */
const reservedBytes = 64 * 1024 * 1024;

interface Making<T> {
  readonly what: string;
  readonly args: readonly string[];
  readonly stdin?: Exclude<ConvertTarOptions['tar'], string>;
  readonly mountNamespace?: string;
  /** Checks what the tool wrote: its exit status 0 is not success. */
  readonly check: () => Promise<T>;
}

/** Runs mkfs.erofs and checks its output; when either fails, nothing is left. */
export async function makeImage<T>({ output, deadlineMs, signal }: ImageOptions, making: Making<T>): Promise<T> {
  const { what, args, stdin, mountNamespace, check } = making;
  try {
    await run('mkfs.erofs', args, {
      deadlineMs,
      signal,
      what,
      env: clocklessEnvironment,
      mountNamespace,
      ...(stdin === undefined ? {} : { stdin: stdin.fd, onStart: () => stdin.close() }),
    });
    try {
      return await check();
    } catch (error) {
      throw unusable(what, error);
    }
  } catch (error) {
    await rm(output, { force: true });
    throw isCode(error, 'resource-exhausted') ? outOfSpace(what, dirname(output), error) : error;
  }
}

/** A value of undefined removes the variable: with SOURCE_DATE_EPOCH set, mkfs.erofs overrules `-T0` and writes other bytes. */
const clocklessEnvironment = { SOURCE_DATE_EPOCH: undefined } as Partial<Record<string, string>> as Record<
  string,
  string
>;

/** A damaged image just made is the tool's failure, not the loss of something that was there. */
function unusable(what: string, error: unknown): unknown {
  if (!(error instanceof CodedError) || !['data-loss', 'not-found'].includes(error.code)) return error;
  return new CodedError('internal', `mkfs.erofs ended well but gave no usable image while ${what}: ${error.message}`, {
    facts: error.facts,
    next: 'run `mkfs.erofs --version` and compare with the versions that this program supports',
    cause: error,
  });
}
