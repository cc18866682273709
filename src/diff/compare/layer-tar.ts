import { CodedError } from '../../errors.js';
import { dataRegionsOf } from '../../host/index.js';
import { Holes } from '../../layers/index.js';
import type { Logger } from '../../log.js';
import type { Changes } from './changes.js';
import { linkedInode } from './hard-links.js';
import { layerXattrs, major, minor, openFile, targetOf, type ComparedNode, type Path, type SeenAs } from './node.js';
import { endOfArchive } from '../tar/writer.js';
import { encodeLayerEntry, padding, type LayerEntry, type TarType } from './tar-entry.js';

export interface LayerTarOptions {
  /** What changed, in the order of the tar. */
  readonly changes: Changes;
  readonly seenAs: SeenAs;
  /** Bytes that holes may have, all in all: they are zeros in a tar. */
  readonly mostHoleBytes?: number;
  /** Nanoseconds since the epoch (SOURCE_DATE_EPOCH): nothing is younger, and it is the time of whiteouts, which is 0 otherwise. */
  readonly latestNs: bigint | undefined;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

const whiteoutPrefix = '.wh.';
const opaqueMarker = '.wh..wh..opq';
const slash = 0x2f;
const partBytes = 1024 * 1024;
/** What holes read as; it is given out again and again, and readers do not write to what they are given. */
const zeros = Buffer.alloc(partBytes);

/**
 * Writes changes as the tar of an OCI layer (image-spec 1.1, layer.md). The same changes give the same bytes: nothing of
 * the clock, of this host or of the order in which a filesystem lists names is in it.
 *
 * @throws CodedError `failed-precondition` for what no layer can say; `data-loss` when a file shrinks while it is read
 */
export async function* layerTar(o: LayerTarOptions): AsyncGenerator<Buffer, void, undefined> {
  const written = { firstNames: new Map<string, Path>(), holes: new Holes(o.mostHoleBytes) };
  for await (const change of o.changes) {
    o.signal.throwIfAborted();
    mustBeNameable(change.path);
    if (change.kind === 'gone') {
      yield encodeLayerEntry(whiteout(removalOf(change.path), o));
      continue;
    }
    yield* present(change.path, change.node, written, o);
    if (change.opaque) yield encodeLayerEntry(whiteout(inside(change.path, opaqueMarker), o));
  }
  yield endOfArchive;
}

async function* present(
  path: Path,
  node: ComparedNode,
  { firstNames, holes }: { readonly firstNames: Map<string, Path>; readonly holes: Holes },
  o: LayerTarOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const type = typeOf(node);
  if (type === undefined) {
    o.log.warn({ path: path.toString() }, 'left a socket out of a layer: no layer can hold one');
    return;
  }
  const inode = linkedInode(node);
  const first = inode === undefined ? undefined : firstNames.get(inode);
  if (first) {
    yield encodeLayerEntry({ ...attributesOf(path, node, o), type: 'hard link', link: first, size: 0 });
    return;
  }
  if (inode !== undefined) firstNames.set(inode, path);
  const xattrs = layerXattrs(node, o.seenAs);
  const entry = { ...attributesOf(path, node, o), type, xattrs };
  if (type === 'symlink') yield encodeLayerEntry({ ...entry, size: 0, link: await targetOf(node) });
  else if (type === 'file') {
    holes.add(path, { size: Number(node.stat.size), blocks: Number(node.stat.blocks) });
    yield* file({ ...entry, size: Number(node.stat.size) }, node, o.signal);
  } else yield encodeLayerEntry({ ...entry, size: 0, ...deviceOf(type, node) });
}

function attributesOf(path: Path, { stat }: ComparedNode, { latestNs }: LayerTarOptions) {
  return {
    path: path.length === 0 ? Buffer.from('.') : path,
    mode: Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtimeNs: latestNs !== undefined && stat.mtimeNs > latestNs ? latestNs : stat.mtimeNs,
  };
}

function whiteout(path: Path, { latestNs }: LayerTarOptions): LayerEntry {
  return { path, type: 'file', mode: 0, uid: 0, gid: 0, size: 0, mtimeNs: latestNs ?? 0n };
}

function typeOf({ stat }: ComparedNode): TarType | undefined {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isFIFO()) return 'fifo';
  if (stat.isSocket()) return undefined;
  return stat.isBlockDevice() ? 'block device' : 'character device';
}

function deviceOf(type: TarType, { stat }: ComparedNode): Pick<LayerEntry, 'device'> {
  if (type !== 'block device' && type !== 'character device') return {};
  return { device: { major: major(stat.rdev), minor: minor(stat.rdev) } };
}

async function* file(
  entry: LayerEntry,
  node: ComparedNode,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  yield encodeLayerEntry(entry);
  if (entry.size === 0) return;
  yield* content(node, entry.size, signal);
  yield padding(entry.size);
}

/** Holes are not read, only written: a tar of this kind cannot leave them out. */
async function* content(
  node: ComparedNode,
  size: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const handle = await openFile(node);
  try {
    const sparse = Number(node.stat.blocks) * 512 < size;
    const regions = sparse ? dataRegionsOf(handle.fd) : [{ offset: 0, length: size }];
    let at = 0;
    for (const { offset, length } of [...regions, { offset: size, length: 0 }]) {
      for (const start = Math.min(offset, size); at < start;) {
        const part = zeros.subarray(0, Math.min(partBytes, start - at));
        at += part.length;
        yield part;
      }
      for (const end = Math.min(offset + length, size); at < end;) {
        signal.throwIfAborted();
        const part = Buffer.allocUnsafe(Math.min(partBytes, end - at));
        const { bytesRead } = await handle.read(part, 0, part.length, at);
        if (bytesRead === 0) throw shrunk(node, size, at);
        at += bytesRead;
        yield part.subarray(0, bytesRead);
      }
    }
  } finally {
    await handle.close();
  }
}

function shrunk({ place }: ComparedNode, size: number, at: number): CodedError {
  return new CodedError('data-loss', `${place.toString()} has ${size} bytes, and only ${at} could be read`, {
    facts: { path: place.toString(), size, read: at },
    next: 'freeze the filesystem of the guest while it is read, or stop the container',
  });
}

function removalOf(path: Path): Path {
  const start = path.lastIndexOf(slash) + 1;
  return Buffer.concat([path.subarray(0, start), Buffer.from(whiteoutPrefix), path.subarray(start)]);
}

function inside(folder: Path, name: string): Path {
  return folder.length === 0 ? Buffer.from(name) : Buffer.concat([folder, Buffer.from(`/${name}`)]);
}

/** In a layer such a name means the absence of another one. */
function mustBeNameable(path: Path): void {
  const name = path.subarray(path.lastIndexOf(slash) + 1);
  if (!name.subarray(0, whiteoutPrefix.length).equals(Buffer.from(whiteoutPrefix))) return;
  throw new CodedError(
    'failed-precondition',
    `${JSON.stringify(path.toString())} cannot be in a layer: a name that begins with "${whiteoutPrefix}" means a deleted file there`,
    { facts: { path: path.toString() }, next: 'rename or remove it in the container' },
  );
}
