import { readFile, rm, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';

import { mergeLayers, verifyMerged, type ErofsTools, type MergedImage } from '../erofs/index.js';
import { describeError, isCode, SnapshotterError } from '../errors.js';
import { asSnapshotterError, publishTogether, temporaryBeside } from '../host/index.js';
import { Jobs, type Slots } from '../jobs.js';
import { manifestLine } from '../layers/index.js';
import type { Logger } from '../log.js';
import { renderDescriptor, verifyDescriptor, type Disk } from '../vmdk/index.js';
import type { OldestFirst } from '../vocabulary.js';
import { exists } from './exists.js';
import type { SnapshotFolder } from './paths.js';

export interface MergedImagesOptions {
  readonly tools: ErofsTools;
  readonly slots: Slots;
  readonly deadlineMs: number;
  readonly log: Logger;
}

/** Either the chain's merged image is ready, or why there can be none. */
export type MergeOutcome = { readonly merged: true } | { readonly merged: false; readonly cause: string };

/**
 * Makes and checks the merged image of a chain: `fsmeta.erofs`, `layers.manifest` and `merged.vmdk` in the folder of the
 * committed snapshot in which the chain ends. One merge runs per chain, however many ask.
 */
export class MergedImages {
  readonly #options: MergedImagesOptions;
  readonly #jobs = new Jobs<MergeOutcome>();
  /** Chains checked since this process started: a check reads every layer's superblock. */
  readonly #checked = new Set<number>();

  constructor(options: MergedImagesOptions) {
    this.#options = options;
  }

  /**
   * @param owner folder of the chain's newest snapshot
   * @param layers paths of the chain's layers, two or more
   * @throws SnapshotterError when the merge failed for a reason that may pass (disk full, deadline, damaged layer): such a
   *   failure must not decide for ever how a snapshot is served
   */
  async ensure(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<MergeOutcome> {
    if (this.#checked.has(owner.id) && (await isReady(owner))) return { merged: true };
    return this.#jobs.run(String(owner.id), () => this.#ensure(owner, layers));
  }

  forget(id: number): void {
    this.#checked.delete(id);
  }

  drain(): Promise<void> {
    return this.#jobs.drain();
  }

  async #ensure(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<MergeOutcome> {
    const { tools, slots, log } = this.#options;
    if (!(await isReady(owner)) || !(await this.#fits(owner, layers))) {
      if (!tools.canMerge) {
        return { merged: false, cause: `mkfs.erofs ${tools.version} merges wrongly, version 1.9.3 or later is needed` };
      }
      try {
        await slots.run(() => this.#merge(owner, layers));
      } catch (error) {
        if (!isImpossible(error)) throw error;
        log.warn({ err: error, snapshot: owner.id }, 'the layers of this chain cannot be merged');
        return { merged: false, cause: describeError(error) };
      }
    }
    this.#checked.add(owner.id);
    return { merged: true };
  }

  /** The same chain gives the same merged bytes, so making an unfit one again changes nothing for whoever uses it. */
  async #fits(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<boolean> {
    try {
      const image = await verifyMerged(owner.merged, layers);
      verifyDescriptor(await readFile(owner.disk, 'utf8'), disksOf(owner, image, layers));
      return (await readFile(owner.manifest, 'utf8')) === manifestOf(layers);
    } catch (error) {
      this.#options.log.warn(
        { err: error, snapshot: owner.id },
        'the merged image does not fit its chain: making it again',
      );
      return false;
    }
  }

  async #merge(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<void> {
    const [merged, manifest, disk] = [owner.merged, owner.manifest, owner.disk].map(temporaryBeside) as [
      string,
      string,
      string,
    ];
    try {
      const image = await mergeLayers({ layers, output: merged, deadlineMs: this.#options.deadlineMs });
      await writeFile(manifest, manifestOf(layers), { mode: 0o600 });
      await writeFile(disk, renderDescriptor(disksOf(owner, image, layers)), { mode: 0o600 });
      await rm(owner.disk, { force: true });
      await publishTogether([
        [merged, owner.merged],
        [manifest, owner.manifest],
        [disk, owner.disk],
      ]);
    } catch (error) {
      throw asSnapshotterError(error, 'merging layers', owner.path);
    } finally {
      for (const temporary of [merged, manifest, disk]) await rm(temporary, { force: true });
    }
  }
}

/** The three files are ready when the one that is renamed last is there. */
function isReady(owner: SnapshotFolder): Promise<boolean> {
  return exists(owner.disk);
}

function disksOf(owner: SnapshotFolder, image: MergedImage, layers: OldestFirst<string>): readonly Disk[] {
  const parts = layers.map((path, index) => ({ path, bytes: image.layers[index]?.bytes ?? 0 }));
  return [{ path: owner.merged, bytes: image.superblock.bytes }, ...parts];
}

function manifestOf(layers: OldestFirst<string>): string {
  return layers.map((path) => `${manifestLine(basename(path))}\n`).join('');
}

/**
 * mkfs.erofs said no to these very layers, crashed on them, or made something else of them, and would again: only that may lead
 * to serving them one by one. Killed by anybody else (out of memory, say) it may do better the next time.
 */
function isImpossible(error: unknown): boolean {
  if (!(error instanceof SnapshotterError)) return false;
  if (error.code === 'failed-precondition') return true;
  if (error.code !== 'internal') return false;
  const { exitCode, signal, stderr } = error.facts;
  if (passing.test(String(stderr))) return false;
  if (signal !== undefined) return crashes.has(String(signal));
  return exitCode !== undefined || isCode(error.cause, 'data-loss') || isCode(error.cause, 'not-found');
}

/** The words of ENOMEM, EIO and EMFILE: the machine's trouble, not the layers'. */
const passing = /Cannot allocate memory|Out of memory|Input\/output error|Too many open files/i;

const crashes = new Set(['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL']);
