import { open, readdir, readFile, watch, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf } from '../errors.js';
import { isDigest, type Digest } from '../vocabulary.js';

/**
 * containerd's local content store keeps a blob that is being fetched in `<content root>/ingest/<hash>/`: its bytes so far in `data`,
 * which becomes the blob by a rename, and in `ref` what it is: `<namespace>/<number>/layer-<digest>`.
 */
const layerRef = /^(?<namespace>[^/]+)\/\d+\/layer-(?<digest>.*)$/s;

/** Milliseconds from an ingest's folder to the files in it. */
const settleMs = 10;

interface Ingest {
  readonly namespace: string;
  readonly digest: Digest;
  readonly data: string;
}

/** The layers that are being fetched in a namespace. */
export async function downloads(contentRoot: string, namespace: string): Promise<readonly Digest[]> {
  const ingests = await ingestsOf(contentRoot, namespace);
  return ingests.map(({ digest }) => digest);
}

/** The bytes so far of a layer that is being fetched, for reading; undefined when no fetch of it runs. The caller closes the file. */
export async function openDownload(
  contentRoot: string,
  namespace: string,
  digest: Digest,
): Promise<FileHandle | undefined> {
  const ingest = (await ingestsOf(contentRoot, namespace)).find((each) => each.digest === digest);
  return ingest && unlessGone(open(ingest.data, 'r'));
}

/**
 * Says each time that fetches have begun, in whatever namespace, until `signal` aborts.
 *
 * @throws an AbortError when `signal` aborts; an error of the system when the folder cannot be watched
 */
export async function* downloadsBegun(contentRoot: string, signal: AbortSignal): AsyncGenerator<void> {
  for await (const _change of watch(join(contentRoot, 'ingest'), { persistent: false, signal })) {
    await delay(settleMs, undefined, { signal });
    yield;
  }
}

async function ingestsOf(contentRoot: string, namespace: string): Promise<readonly Ingest[]> {
  const folder = join(contentRoot, 'ingest');
  const names = (await unlessGone(readdir(folder))) ?? [];
  const ingests = await Promise.all(names.map((name) => ingestIn(join(folder, name))));
  return ingests.filter((ingest) => ingest?.namespace === namespace) as Ingest[];
}

/** Undefined for what is no layer, and for an ingest that has just ended or just begun. */
async function ingestIn(folder: string): Promise<Ingest | undefined> {
  const ref = await unlessGone(readFile(join(folder, 'ref'), 'utf8'));
  const { namespace, digest } = layerRef.exec(ref ?? '')?.groups ?? {};
  if (namespace === undefined || digest === undefined || !isDigest(digest)) return undefined;
  return { namespace, digest, data: join(folder, 'data') };
}

async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}
