import { isCode } from '../../errors.js';
import { diffIdLabel, snapshotRefLabel, type Digest } from '../../vocabulary.js';
import type { Link } from './names.js';
import { discard, extractKey, unpackInto, type ChainTools, type LayerBlob } from './unpack.js';
import { aboutLink, isMissing, missingLayer, unsettled } from './words.js';

export interface BuildOptions {
  readonly snapshotter: string;
  /** Under which every link comes, so that no garbage collection takes it between two steps. */
  readonly lease: string;
  /** Layers that the snapshotter need not hold yet. */
  readonly blobs: ReadonlyMap<Digest, LayerBlob>;
  /** Called when a link stands, counted from 1 at the bottom. */
  readonly onLink?: (link: Link) => void;
  readonly signal: AbortSignal;
}

/** How often a chain is begun anew because a garbage collection or another command took a link meanwhile. */
const attempts = 5;

/** The link existed a moment ago and is gone. */
class Vanished extends Error {}

/**
 * Makes every link of a chain be a committed snapshot that the lease keeps. Asks from the top: when all is there, that is one
 * question. Several processes may build the same chain at once.
 *
 * @throws CodedError `not-found` a layer that the snapshotter does not hold and for which there is no blob; `unavailable`;
 *   what differ and snapshotter answer
 */
export async function buildChain(tools: ChainTools, links: readonly Link[], o: BuildOptions): Promise<void> {
  let from = links.length - 1;
  for (let attempt = 1; ; attempt += 1) {
    try {
      for (const link of links.slice(from)) {
        await standing(tools, link, o);
        o.onLink?.(link);
      }
      return;
    } catch (error) {
      if (!(error instanceof Vanished)) throw error;
      if (attempt === attempts) throw unsettled(links, o.snapshotter, error.cause);
      const present = await countPresent(tools, links, o.signal);
      // The highest link that is there is asked for again, which puts it under the lease.
      from = Math.max(0, present - 1);
    }
  }
}

/** How many links stand, from the bottom: none stands without the one below it. */
async function countPresent({ snapshots }: ChainTools, links: readonly Link[], signal: AbortSignal): Promise<number> {
  let [present, absent] = [0, links.length + 1];
  while (absent - present > 1) {
    const middle = Math.floor((present + absent) / 2);
    const link = links[middle - 1];
    const found = link !== undefined && (await stands(snapshots, link, signal));
    if (found) present = middle;
    else absent = middle;
  }
  return present;
}

async function stands(snapshots: ChainTools['snapshots'], { name }: Link, signal: AbortSignal): Promise<boolean> {
  try {
    await snapshots.stat(name, signal);
    return true;
  } catch (error) {
    if (isCode(error, 'not-found')) return false;
    throw error;
  }
}

/**
 * Asks for one link by the remote-snapshot protocol: ALREADY_EXISTS means that it stands, made by any client, and that containerd
 * has put it under the lease. A snapshot to fill means that the snapshotter does not hold the layer.
 */
async function standing(tools: ChainTools, link: Link, o: BuildOptions): Promise<void> {
  const { snapshots, log } = tools;
  const { name, layer, parent } = link;
  const { lease, signal } = o;
  const key = extractKey();
  const labels = { [snapshotRefLabel]: name, [diffIdLabel]: layer };
  try {
    const mounts = await snapshots.prepare({ key, parent, labels, lease, signal });
    const blob = o.blobs.get(layer);
    if (blob === undefined) throw missingLayer(layer);
    await unpackInto(tools, { ...blob, mounts, key, layer, nameOf: () => name, lease, signal });
  } catch (error) {
    if (isCode(error, 'already-exists')) {
      await mustStand(tools, link, signal);
      return;
    }
    await discard(snapshots, key, log);
    if (parent !== '' && (await isWithoutParent(tools, error, link, signal))) throw new Vanished('', { cause: error });
    throw isMissing(error, layer) ? error : aboutLink(error, link);
  }
}

async function mustStand({ snapshots }: ChainTools, link: Link, signal: AbortSignal): Promise<void> {
  await snapshots.stat(link.name, signal).catch((error: unknown) => {
    throw isCode(error, 'not-found') ? new Vanished('', { cause: error }) : aboutLink(error, link);
  });
}

/** NOT_FOUND says that something is missing, and not what: the parent, the lease, the blob or the layer. */
async function isWithoutParent(
  { snapshots }: ChainTools,
  error: unknown,
  { parent }: Link,
  signal: AbortSignal,
): Promise<boolean> {
  if (!isCode(error, 'not-found') || signal.aborted) return false;
  return snapshots.stat(parent, signal).then(
    () => false,
    (missing: unknown) => isCode(missing, 'not-found'),
  );
}
