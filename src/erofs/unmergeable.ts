import { rm } from 'node:fs/promises';
import { isCode, CodedError } from '../errors.js';
import { oldestFirst, newestFirst, type OldestFirst } from '../vocabulary.js';
import { mergeArguments } from './args.js';
import type { Layer } from './devices.js';
import { makeImage, type ImageOptions } from './mkfs.js';
import { damaged } from './superblock.js';
import { checkTree } from './tree-check.js';

/** What mkfs.erofs dies of when its input is too much for it. */
const crashes = new Set(['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL']);
/** A shell that wraps the tool says 128 and the number of the signal. */
const crashExitCodes = new Set([128 + 11, 128 + 6, 128 + 7, 128 + 8, 128 + 4]);
/** Milliseconds for a layer alone: metadata of a million files takes a few seconds. */
const aloneMs = 120_000;

/**
 * Checks what an EROFS image that others made does to mkfs.erofs when it is merged: walked first, then merged alone. That the tool
 * refuses it is no fault; such a layer is served by itself.
 *
 * @param scratch a temporary name that is free again afterwards
 * @throws CodedError `data-loss` when its metadata is not sound, or the tool crashes on it or does not end
 */
export async function tryMerging(layer: string, scratch: string, o: Omit<ImageOptions, 'output'>): Promise<void> {
  const deadlineMs = Math.min(aloneMs, o.deadlineMs);
  await checkTree(layer, { ...o, deadlineMs });
  await mergeAlone(layer, { ...o, deadlineMs, output: scratch });
}

async function mergeAlone(layer: string, o: ImageOptions): Promise<void> {
  const layers = oldestFirst(newestFirst([layer]));
  const args = mergeArguments({ output: o.output, layers });
  try {
    await makeImage(o, { what: `merging ${layer} alone`, args, check: () => Promise.resolve() });
  } catch (error) {
    if (isCrash(error)) throw damaged(layer, 'mkfs.erofs crashes on it');
    if (isCode(error, 'deadline-exceeded'))
      throw damaged(layer, `mkfs.erofs does not end merging it in ${o.deadlineMs} ms`);
    if (!isCode(error, 'internal')) throw error;
  } finally {
    await rm(o.output, { force: true });
  }
}

/**
 * Refuses layers that the tool merges without a word and wrongly. Only images that others made, or that hold sparse files, have files
 * in chunks, so most are not looked at.
 *
 * @throws CodedError `failed-precondition`, upon which the layers are served one by one; as `checkTree`
 */
export async function refuseUnmergeable(layers: OldestFirst<Layer>, o: Omit<ImageOptions, 'output'>): Promise<void> {
  for (const { path, superblock } of layers) {
    if (!superblock.hasChunks) continue;
    const { hasLargeChunkedFile } = await checkTree(path, { ...o, deadlineMs: Math.min(aloneMs, o.deadlineMs) });
    if (!hasLargeChunkedFile) continue;
    const message = `${path} has a file of more than 4 GiB in chunks, which mkfs.erofs up to 1.9.4 merges wrongly`;
    throw new CodedError('failed-precondition', message, {
      facts: { path },
      next: 'build the layer without --chunksize',
    });
  }
}

/**
 * When the tool crashed on layers or did not end: which of them is to blame.
 *
 * @throws CodedError `data-loss` with the name of the first layer whose metadata is not sound, or that crashes it alone
 *   while another does not
 */
export async function blameLayer(error: unknown, layers: OldestFirst<string>, o: ImageOptions): Promise<void> {
  const crashed = isCrash(error);
  if (!crashed && !isCode(error, 'deadline-exceeded')) return;
  const { output, signal } = o;
  for (const layer of layers) await checkTree(layer, { deadlineMs: aloneMs, signal });
  if (!crashed) return;
  const alone = await eachAlone(layers, { output, signal, deadlineMs: aloneMs });
  const [first] = alone;
  // A tool that crashes on all of them is broken, and says nothing of any.
  if (first && alone.length < layers.length) throw first;
}

/** What is wrong with those that cannot be merged alone. */
async function eachAlone(layers: OldestFirst<string>, o: ImageOptions): Promise<CodedError[]> {
  const failures: CodedError[] = [];
  for (const layer of layers) {
    try {
      await mergeAlone(layer, o);
    } catch (error) {
      if (!isCode(error, 'data-loss')) throw error;
      failures.push(error);
    }
  }
  return failures;
}

function isCrash(error: unknown): boolean {
  if (!isCode(error, 'internal')) return false;
  const { signal, exitCode } = error.facts;
  return crashes.has(String(signal)) || crashExitCodes.has(Number(exitCode));
}
