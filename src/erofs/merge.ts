import { rm, writeFile } from 'node:fs/promises';
import { CodedError } from '../errors.js';
import { EarlyFlush } from '../host/index.js';
import { listedOldestFirst, mapOldestFirst, type OldestFirst } from '../vocabulary.js';
import { mergeArguments } from './args.js';
import { chainRoot, findCorrections, type Corrections } from './corrections.js';
import { verifyDevices, type Layer, type MergedImage } from './devices.js';
import { inherit } from './inherit.js';
import { xattrBytesOf } from './inlay.js';
import { makeImage, type ImageOptions } from './mkfs.js';
import type { RootDirectory } from './root.js';
import { readSuperblockOf, renewChecksum, withImage, writeUuid } from './superblock.js';
import { blameLayer, refuseUnmergeable } from './unmergeable.js';
import { mergedUuid } from './uuid.js';
import { verifyLayer } from './verify.js';

/**
 * How layers are merged. `mkfs`: as mkfs.erofs does, with the attributes of directories mended; so all releases before record version 3
 * did it, and their images are made again so. `overlay`: as the kernel's overlay shows the layers.
 */
export type MergeRules = 'mkfs' | 'overlay';

export interface MergeOptions extends ImageOptions {
  /** Paths of one layer or more. */
  readonly layers: OldestFirst<string>;
  readonly rules: MergeRules;
  /** Where the inlay above a layer (counted from 1, oldest first) is to be written, should there be one. */
  readonly inlay: (above: number) => string;
}

/** How the merged image of a chain differs from what `mkfs` rules make of it. */
export interface MergePlan {
  /** The layers, counted from 1, oldest first, above which an inlay is merged. */
  readonly inlays: readonly number[];
  /** The rules that lead to the same bytes and are the oldest. */
  readonly rules: MergeRules;
}

/** A merged image, whose devices are the layers and inlays as `withInlays` lists them. */
export interface MadeImage {
  readonly image: MergedImage;
  readonly plan: MergePlan;
}

/**
 * Merges layers into one image that holds their metadata and refers to their data. The same layers give the same bytes.
 *
 * mkfs.erofs up to 1.9.4 gives every merged root the mode 0777, the owner root and no xattrs, whatever the layers say, takes a
 * directory that a layer only implies for one that it describes, and lets directories of older layers come back that something else has
 * replaced meanwhile; all is mended. Hard links to symlinks, devices and fifos become files of their own.
 *
 * @throws CodedError `data-loss` when a layer is damaged; `failed-precondition` when there is no room for what is to be mended;
 *   `internal` when the tool refuses these layers or its output is not what was asked for; else as `run` does.
 */
export async function mergeLayers(o: MergeOptions): Promise<MadeImage> {
  const { layers: paths, rules } = o;
  if (paths.length === 0) throw new CodedError('invalid-argument', 'there are no layers to merge');
  const verified = verifyLayers(paths);
  verified.catch(() => undefined); // awaited below
  const root = await chainRoot(paths).catch(async (error: unknown) => {
    await verified;
    throw error;
  });
  const asked = rules === 'mkfs' ? { ...root, xattrs: [] } : root;
  const attempt = new Attempt(o, verified, asked);
  const first = await attempt.run();
  if (first) return first;
  // Rare: what mkfs.erofs began is given up, and it gets the inlays as well.
  return attempt.again();
}

/**
 * What merging a chain takes, without doing it.
 *
 * @throws CodedError as `mergeLayers` does of layers that are damaged or cannot be merged
 */
export async function planMerge(paths: OldestFirst<string>, o: Omit<ImageOptions, 'output'>): Promise<MergePlan> {
  const layers = await verifyLayers(paths);
  await refuseUnmergeable(layers, o);
  return planOf(await findCorrections(layers, await chainRoot(paths), o.signal));
}

/** All devices of a merged image: each inlay above its layer. */
export function withInlays<T>(
  layers: OldestFirst<T>,
  inlays: readonly number[],
  inlay: (above: number) => T,
): OldestFirst<T> {
  const devices = layers.flatMap((layer, index) => (inlays.includes(index + 1) ? [layer, inlay(index + 1)] : [layer]));
  return listedOldestFirst(devices);
}

function planOf({ root, inlays }: Corrections): MergePlan {
  const asBefore = inlays.length === 0 && root.xattrs.length === 0;
  return { inlays: inlays.map(({ above }) => above), rules: asBefore ? 'mkfs' : 'overlay' };
}

/** One merge: without inlays first, while the layers are looked through for what would need some. */
class Attempt {
  readonly #o: MergeOptions;
  readonly #root: RootDirectory;
  readonly #verified: Promise<OldestFirst<Layer>>;
  readonly #corrections: Promise<Corrections>;
  readonly #stop = new AbortController();

  constructor(o: MergeOptions, verified: Promise<OldestFirst<Layer>>, root: RootDirectory) {
    this.#o = o;
    this.#root = root;
    this.#verified = verified;
    const signal = o.signal ? AbortSignal.any([o.signal, this.#stop.signal]) : this.#stop.signal;
    // The layers alone tell, so neither waits for the tool, nor the tool for them.
    this.#corrections = verified.then(async (layers) => {
      await refuseUnmergeable(layers, { deadlineMs: o.deadlineMs, signal });
      const found = await findCorrections(layers, root, signal);
      return o.rules === 'mkfs' ? { ...found, inlays: [] } : found;
    });
    this.#corrections.then(
      ({ inlays }) => inlays.length > 0 && this.#stop.abort(new Error('the layers have to be merged with inlays')),
      (error: unknown) => this.#stop.abort(error),
    );
  }

  /** @returns undefined when the layers have to be merged with inlays */
  async run(): Promise<MadeImage | undefined> {
    const signal = this.#o.signal ? AbortSignal.any([this.#o.signal, this.#stop.signal]) : this.#stop.signal;
    try {
      const image = await this.#merge(this.#o.layers, this.#verified, signal);
      if (image) return { image, plan: planOf(await this.#corrections) };
    } catch (error) {
      // What is wrong with a layer is not the tool's failure, and is told even when the tool stumbled over it first.
      if ((await this.#corrections).inlays.length > 0) return undefined;
      await blameLayer(error, this.#o.layers, this.#o);
      throw error;
    } finally {
      await Promise.allSettled([this.#corrections]);
    }
    return undefined;
  }

  async again(): Promise<MadeImage> {
    const { layers, inlay, signal } = this.#o;
    const corrections = await this.#corrections;
    const plan = planOf(corrections);
    const written: string[] = [];
    try {
      for (const { above, bytes } of corrections.inlays) {
        written.push(inlay(above));
        await writeFile(inlay(above), bytes, { mode: 0o600 });
      }
      const devices = withInlays(layers, plan.inlays, inlay);
      const image = await this.#merge(devices, verifyLayers(devices), signal);
      if (!image) throw new Error('a merge with inlays was given up');
      return { image, plan };
    } catch (error) {
      for (const path of written) await rm(path, { force: true });
      throw error;
    }
  }

  /** @returns undefined when the image lacks inlays */
  async #merge(
    paths: OldestFirst<string>,
    verified: Promise<OldestFirst<Layer>>,
    signal: AbortSignal | undefined,
  ): Promise<MergedImage | undefined> {
    const { output } = this.#o;
    const early = new EarlyFlush(output);
    const rootXattrBytes = xattrBytesOf(this.#root.xattrs);
    verified.catch(() => undefined);
    try {
      return await makeImage(
        { ...this.#o, signal },
        {
          what: `merging ${paths.length} layers`,
          args: mergeArguments({ output, layers: paths, rootXattrBytes }),
          check: async () => {
            // Publishing waits for the disk, which can begin with what the tool wrote while that is checked and mended.
            early.start();
            const layers = await verified;
            await verifyDevices(output, layers);
            const corrections = await this.#corrections;
            if (layers.length !== this.#o.layers.length + corrections.inlays.length) return undefined;
            await mend(output, layers, corrections);
            await early.settle();
            early.check();
            return verifyDevices(output, layers);
          },
        },
      );
    } finally {
      await early.settle();
    }
  }
}

async function verifyLayers(paths: OldestFirst<string>): Promise<OldestFirst<Layer>> {
  const layers = await Promise.all(paths.map(async (path) => ({ path, superblock: await verifyLayer(path) })));
  return listedOldestFirst(layers);
}

async function mend(output: string, layers: OldestFirst<Layer>, corrections: Corrections): Promise<void> {
  const uuid = mergedUuid(mapOldestFirst(layers, ({ superblock }) => superblock.uuid));
  await withImage(output, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, output);
    await writeUuid(file, uuid);
    inherit({ file, path: output, superblock }, corrections);
    await renewChecksum(file, output, superblock);
  });
}
