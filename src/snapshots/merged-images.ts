import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import {
  mergeLayers,
  planMerge,
  verifyMerged,
  withInlays,
  type ErofsTools,
  type MergedImage,
  type MergePlan,
  type MergeRules,
} from '../erofs/index.js';
import { describeError, isCode, CodedError } from '../errors.js';
import { asCodedError, exists, publishTogether, syncFolder, temporaryBeside } from '../host/index.js';
import { Jobs, type Slots } from '../jobs.js';
import { KeyLocks } from '../key-locks.js';
import { manifestLine } from '../layers/index.js';
import type { Logger } from '../log.js';
import { renderDescriptor, verifyDescriptor, type Disk } from '../vmdk/index.js';
import type { OldestFirst } from '../vocabulary.js';
import type { MergedFolder, SnapshotFolder } from './paths.js';

export interface MergedImagesOptions {
  readonly tools: ErofsTools;
  readonly slots: Slots;
  readonly deadlineMs: number;
  readonly log: Logger;
}

/** Either the chain's merged image is ready, or why there can be none. */
export type MergeOutcome =
  { readonly merged: true; readonly plan: MergePlan } | { readonly merged: false; readonly cause: string };

/**
 * Makes and checks the merged image of a chain: `fsmeta.erofs`, `layers.manifest` and `merged.vmdk` in the folder of the
 * committed snapshot in which the chain ends, or in a folder of their own below it, see {@link SnapshotFolder.mergedBy}. One merge
 * runs per chain, however many ask.
 */
export class MergedImages {
  readonly #options: MergedImagesOptions;
  readonly #jobs = new Jobs<MergeOutcome>();
  /** What new snapshots get and what recorded ones have may be the same files. */
  readonly #chains = new KeyLocks();
  /** Chains checked since this process started, and how they are merged now: a check reads every layer's superblock. */
  readonly #plans = new Map<number, MergePlan>();
  /** Chains whose images of these rules were checked since this process started, by id. */
  readonly #checked = { mkfs: new Set<number>(), overlay: new Set<number>() } satisfies Record<MergeRules, Set<number>>;

  constructor(options: MergedImagesOptions) {
    this.#options = options;
  }

  /**
   * For a new snapshot: what the kernel's overlay of the layers shows.
   *
   * @param owner folder of the chain's newest snapshot
   * @param layers paths of the chain's layers, two or more
   * @throws CodedError when the merge failed for a reason that may pass (disk full, deadline, damaged layer): such a
   *   failure must not decide for ever how a snapshot is served
   */
  async ensure(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<MergeOutcome> {
    const plan = this.#plans.get(owner.id);
    if (plan && (await isReady(owner.mergedBy(plan.rules)))) return { merged: true, plan };
    return this.#jobs.run(`${owner.id}`, () => this.#chains.run(`${owner.id}`, () => this.#ensure(owner, layers)));
  }

  /**
   * For a snapshot that is served as `plan` says, for ever: by files that an older release may have merged by older rules.
   *
   * @throws CodedError as `ensure`
   */
  async ensureAsRecorded(owner: SnapshotFolder, layers: OldestFirst<string>, plan: MergePlan): Promise<MergeOutcome> {
    if (this.#checked[plan.rules].has(owner.id) && (await isReady(owner.mergedBy(plan.rules)))) {
      return { merged: true, plan };
    }
    return this.#jobs.run(`${owner.id} ${plan.rules}`, () =>
      this.#chains.run(`${owner.id}`, () => this.#ensureAsRecorded(owner, layers, plan)),
    );
  }

  forget(id: number): void {
    this.#plans.delete(id);
    for (const ids of Object.values(this.#checked)) ids.delete(id);
  }

  drain(): Promise<void> {
    return this.#jobs.drain();
  }

  async #ensure(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<MergeOutcome> {
    const outcome = (await this.#whatIsThere(owner, layers)) ?? (await this.#make(owner, layers, 'overlay'));
    if (outcome.merged) {
      this.#plans.set(owner.id, outcome.plan);
      this.#checked[outcome.plan.rules].add(owner.id);
    }
    return outcome;
  }

  /** The merged image that is there, when it is what would be made now. */
  async #whatIsThere(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<MergeOutcome | undefined> {
    const old = await isReady(owner.mergedBy('mkfs'));
    if (!old && !(await isReady(owner.mergedBy('overlay')))) return undefined;
    const plan = await planMerge(layers, { deadlineMs: this.#options.deadlineMs }).catch((error: unknown) => {
      if (isImpossible(error)) return undefined;
      throw error;
    });
    if (!plan) return undefined;
    const folder = owner.mergedBy(plan.rules);
    if ((await isReady(folder)) && (await this.#fits(owner, folder, layers, plan))) return { merged: true, plan };
    if (old && plan.rules === 'overlay') {
      this.#options.log.warn(
        { snapshot: owner.id, inlays: plan.inlays },
        'an earlier release merged this chain wrongly: it is merged anew for new snapshots, in a folder of its own',
      );
    }
    return undefined;
  }

  async #ensureAsRecorded(owner: SnapshotFolder, layers: OldestFirst<string>, plan: MergePlan): Promise<MergeOutcome> {
    const folder = owner.mergedBy(plan.rules);
    if (!(await isReady(folder)) || !(await this.#fits(owner, folder, layers, plan))) {
      const made = await this.#make(owner, layers, plan.rules);
      if (made.merged && !isDeepStrictEqual(made.plan, plan)) {
        return { merged: false, cause: 'its layers are no longer those that it was made of' };
      }
      if (!made.merged) return made;
    }
    if (plan.rules === 'mkfs') await this.#tellOfOlderRules(owner, layers);
    this.#checked[plan.rules].add(owner.id);
    return { merged: true, plan };
  }

  /** Once in a daemon's life: what a guest may be running on does not change, but an operator who reads the log can act. */
  async #tellOfOlderRules(owner: SnapshotFolder, layers: OldestFirst<string>): Promise<void> {
    const { log } = this.#options;
    try {
      const plan = this.#plans.get(owner.id) ?? (await planMerge(layers, { deadlineMs: this.#options.deadlineMs }));
      if (plan.rules === 'mkfs') return;
    } catch (error) {
      log.debug({ err: error, snapshot: owner.id }, 'could not look for what an earlier release merged wrongly');
      return;
    }
    log.warn(
      { snapshot: owner.id },
      'a snapshot is served as an earlier release recorded it, by an image that was merged wrongly: prepare it anew to get the right one',
    );
  }

  async #make(owner: SnapshotFolder, layers: OldestFirst<string>, rules: MergeRules): Promise<MergeOutcome> {
    const { tools, slots, log } = this.#options;
    if (!tools.canMerge) {
      return { merged: false, cause: `mkfs.erofs ${tools.version} merges wrongly, version 1.9.3 or later is needed` };
    }
    try {
      return { merged: true, plan: await slots.run(() => this.#merge(owner, layers, rules)) };
    } catch (error) {
      if (!isImpossible(error)) throw error;
      log.warn({ err: error, snapshot: owner.id }, 'the layers of this chain cannot be merged');
      return { merged: false, cause: describeError(error) };
    }
  }

  /** The same chain gives the same merged bytes, so making an unfit one again changes nothing for its users. */
  async #fits(
    owner: SnapshotFolder,
    folder: MergedFolder,
    layers: OldestFirst<string>,
    { inlays }: MergePlan,
  ): Promise<boolean> {
    const devices = withInlays(layers, inlays, (above) => folder.inlay(above));
    try {
      const image = await verifyMerged(folder.image, devices);
      verifyDescriptor(await readFile(folder.disk, 'utf8'), disksOf(folder, image, devices));
      return (await readFile(folder.manifest, 'utf8')) === manifestOf(devices);
    } catch (error) {
      this.#options.log.warn(
        { err: error, snapshot: owner.id },
        'the merged image does not fit its chain: making it again',
      );
      return false;
    }
  }

  async #merge(owner: SnapshotFolder, layers: OldestFirst<string>, rules: MergeRules): Promise<MergePlan> {
    // Beside the layer in any case, where the next start sweeps what a crash leaves.
    const beside = owner.mergedBy('mkfs');
    const [image, manifest, disk] = [beside.image, beside.manifest, beside.disk].map(temporaryBeside) as [
      string,
      string,
      string,
    ];
    const inlays = new Map<number, string>();
    const inlay = (above: number) => {
      const path = inlays.get(above) ?? temporaryBeside(beside.inlay(above));
      inlays.set(above, path);
      return path;
    };
    try {
      const made = await mergeLayers({ layers, output: image, rules, inlay, deadlineMs: this.#options.deadlineMs });
      const folder = owner.mergedBy(made.plan.rules);
      const devices = withInlays(layers, made.plan.inlays, (above) => folder.inlay(above));
      await writeFile(manifest, manifestOf(devices), { mode: 0o600 });
      await writeFile(disk, renderDescriptor(disksOf(folder, made.image, devices)), { mode: 0o600 });
      if (folder.path !== owner.path) await makeUnlessThere(owner, folder);
      await rm(folder.disk, { force: true });
      await publishTogether([
        ...[...inlays].map(([above, path]) => [path, folder.inlay(above)] as const),
        [image, folder.image],
        [manifest, folder.manifest],
        [disk, folder.disk],
      ]);
      return made.plan;
    } catch (error) {
      throw asCodedError(error, 'merging layers', owner.path);
    } finally {
      for (const path of [image, manifest, disk, ...inlays.values()]) await rm(path, { force: true });
    }
  }
}

async function makeUnlessThere(owner: SnapshotFolder, folder: MergedFolder): Promise<void> {
  await mkdir(folder.path, { recursive: true, mode: 0o700 });
  await syncFolder(owner.path);
}

/** The layers above which a merged image has inlays, as its manifest tells. @throws CodedError as a file that cannot be read */
export async function inlaysIn(folder: MergedFolder): Promise<readonly number[]> {
  const text = await readFile(folder.manifest, 'utf8').catch((error: unknown) => {
    throw asCodedError(error, 'reading how layers were merged', folder.path);
  });
  return [...text.matchAll(/^blob:inlay-(\d+)\.erofs$/gm)].map(([, above]) => Number(above));
}

/** The files are ready when the one that is renamed last is there. */
function isReady(folder: MergedFolder): Promise<boolean> {
  return exists(folder.disk);
}

function disksOf(folder: MergedFolder, image: MergedImage, devices: OldestFirst<string>): readonly Disk[] {
  const parts = devices.map((path, index) => ({ path, bytes: image.layers[index]?.bytes ?? 0 }));
  return [{ path: folder.image, bytes: image.superblock.bytes }, ...parts];
}

function manifestOf(devices: OldestFirst<string>): string {
  return devices.map((path) => `${manifestLine(basename(path))}\n`).join('');
}

/**
 * mkfs.erofs said no to these very layers, crashed on them, or made something else of them, and would again: only that may lead
 * to serving them one by one. Killed from outside (out of memory, say) it may do better the next time.
 */
function isImpossible(error: unknown): boolean {
  if (!(error instanceof CodedError)) return false;
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
