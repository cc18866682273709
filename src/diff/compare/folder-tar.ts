import { createHash } from 'node:crypto';
import { errnoOf, isCode, CodedError } from '../../errors.js';
import { asCodedError } from '../../host/index.js';
import { overlayNotes } from '../../layers/index.js';
import type { Logger } from '../../log.js';
import { layerTar } from './layer-tar.js';
import { childrenOf, joined, nodeAt, type ComparedNode, type Path } from './node.js';
import { changesOfUpper, UpperIsNotEnough } from './upper.js';

export interface FolderTarOptions {
  /** Told before the first byte how many there will be, roughly. */
  readonly onTotal?: (bytes: number) => void;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * The tar of a layer that has what is in a folder of this host, as it lies there: names in the order of their bytes, owners,
 * modes, times, links, devices and extended attributes. The same folder gives the same bytes. What an overlay notes in its upper
 * is understood: a whiteout deletes, an opaque folder hides. Sockets are left out, with a warning in the log.
 *
 * @throws CodedError `failed-precondition` the folder changed while it was read, or has what no layer can say, or may not
 *   be read; the signal's reason
 */
export async function* folderTar(folder: string, o: FolderTarOptions): AsyncGenerator<Buffer, void, undefined> {
  const { signal, log } = o;
  try {
    const before = await survey(folder, signal);
    o.onTotal?.(before.bytes);
    const notes = await overlayNotes(folder);
    const changes = changesOfUpper({ path: folder, notes });
    yield* layerTar({ changes, seenAs: notes, latestNs: undefined, signal, log });
    const after = await survey(folder, signal);
    if (after.fingerprint !== before.fingerprint) throw changed(folder, after.latest);
  } catch (error) {
    throw worded(error, folder, signal);
  }
}

interface Survey {
  /** Of all that lstat says but access times, which reading changes. */
  readonly fingerprint: string;
  /** Of the tar, roughly: extended headers are guessed. */
  readonly bytes: number;
  /** What changed last. */
  readonly latest: Path;
}

async function survey(folder: string, signal: AbortSignal): Promise<Survey> {
  const hash = createHash('sha256');
  const root = await nodeAt(Buffer.from(folder));
  let bytes = 1024;
  let latest: { path: Path; ctimeNs: bigint } = { path: Buffer.from('.'), ctimeNs: root.stat.ctimeNs };
  for await (const [path, node] of walk(Buffer.alloc(0), root)) {
    signal.throwIfAborted();
    const { dev, ino, mode, nlink, uid, gid, rdev, size, mtimeNs, ctimeNs } = node.stat;
    hash.update(path).update(`\0${[dev, ino, mode, nlink, uid, gid, rdev, size, mtimeNs, ctimeNs].join(' ')}\n`);
    bytes += tarBytes(node);
    if (ctimeNs > latest.ctimeNs) latest = { path, ctimeNs };
  }
  return { fingerprint: hash.digest('hex'), bytes, latest: latest.path };
}

async function* walk(path: Path, node: ComparedNode): AsyncGenerator<readonly [Path, ComparedNode]> {
  yield [path, node];
  if (!node.stat.isDirectory()) return;
  for await (const [name, child] of childrenOf(node.place)) yield* walk(joined(path, name), child);
}

function tarBytes({ stat }: ComparedNode): number {
  const extended = stat.mtimeNs % 1_000_000_000n === 0n ? 0 : 1024;
  return 512 + extended + (stat.isFile() ? Math.ceil(Number(stat.size) / 512) * 512 : 0);
}

function changed(folder: string, what: Path | undefined, cause?: unknown): CodedError {
  const last = what === undefined ? '' : ` (last: ${JSON.stringify(what.toString())})`;
  return new CodedError('failed-precondition', `${folder} changed while it was read${last}`, {
    facts: { path: folder },
    next: 'wait until nothing writes to it, or copy it first',
    cause,
  });
}

function worded(error: unknown, folder: string, signal: AbortSignal): unknown {
  if (signal.aborted) return error;
  // A file that became shorter.
  if (isCode(error, 'data-loss')) return changed(folder, undefined, error);
  if (error instanceof CodedError) return error;
  if (error instanceof UpperIsNotEnough) {
    return new CodedError(
      'failed-precondition',
      `${folder} is the upper of an overlay that needs the layers below it: ${error.message}`,
      {
        facts: { path: folder, attribute: error.attribute },
        next: 'import what the overlay shows where it is mounted',
      },
    );
  }
  const errno = errnoOf(error) ?? '';
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return changed(folder, undefined, error);
  if (errno === 'EACCES' || errno === 'EPERM') {
    const message = error instanceof Error ? error.message : String(error);
    return new CodedError('failed-precondition', `${folder} cannot be read: ${message}`, {
      facts: { path: folder },
      next: 'run this as root',
      cause: error,
    });
  }
  return asCodedError(error, `reading ${folder}`);
}
