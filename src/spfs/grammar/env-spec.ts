import { dirname, resolve } from 'node:path';
import { shown, specError, type Where } from './fault.js';
import type { SpecFiles } from './files.js';
import { readItem, type ItemText } from './item.js';
import type { EnvItem, Place } from './items.js';
import { readLiveLayer } from './live-layer.js';
import { readRunSpec } from './run-spec.js';
import { directorySpecFile, locateSpec, readSpec } from './spec-file.js';
import type { Warn } from './shape.js';
import { splitItems } from './split.js';

/** An env spec has at most this many items, those of its run specs and the spec files themselves included. */
export const mostItems = 4096;

/** Run specs name run specs at most this deep. */
export const deepestRunSpec = 32;

/** Characters of an env spec: as many as bytes of a spec file. */
const longestEnvSpec = 1024 * 1024;

/**
 * Reads an env spec and all spec files that it names. Run specs are replaced by their items, in order.
 *
 * @param warn told what spec files have that means nothing here
 * @throws CodedError `invalid-argument`, `not-found`, `failed-precondition`; the message begins with the place: the character of the
 *   env spec, or file, line and field
 */
export async function parseEnvSpec(
  text: string,
  files: SpecFiles,
  warn: Warn = () => undefined,
): Promise<readonly EnvItem[]> {
  const reading = new Reading(files, warn);
  await reading.spec(text, {}, []);
  return reading.items;
}

/** One run through an env spec: what was read so far, and which files were met on which way. */
class Reading {
  readonly items: EnvItem[] = [];
  readonly #files: SpecFiles;
  readonly #warn: Warn;
  readonly #met = new Map<string, readonly string[]>();
  #count = 0;

  constructor(files: SpecFiles, warn: Warn) {
    this.#files = files;
    this.#warn = warn;
  }

  /** @param chain the lines that led here, as `file:line`, outermost first */
  async spec(text: string, entry: Omit<Place, 'text'>, chain: readonly string[]): Promise<void> {
    const whereAt = (at?: number): Where => ({ ...entry, spec: { text, at } });
    if (text.length > longestEnvSpec) {
      const next = 'write a run spec';
      throw specError(whereAt(longestEnvSpec), `an env spec has at most ${longestEnvSpec} characters`, { next });
    }
    const split = splitItems(text);
    if ('what' in split) throw specError(whereAt(split.at), split.what, { next: split.next, chain });
    const folder = entry.file === undefined ? this.#files.cwd : dirname(entry.file);
    for (const item of split) {
      // What is wrong with the only item is wrong with the whole.
      const whole = split.length === 1 ? undefined : item.at;
      const where = whereAt(whole);
      this.#count += 1;
      if (this.#count > mostItems) {
        throw specError(where, `an environment has at most ${mostItems} items`, { next: 'name fewer layers', chain });
      }
      const read = readItem(item.text, folder);
      if (read.kind === 'fault') {
        const { at, what, next } = read.fault;
        throw specError(at === undefined ? where : whereAt(item.at + at), what, { next, chain });
      }
      if (read.kind === 'path') await this.#specFile(read.path, where, { ...entry, text: item.text }, chain);
      else this.items.push(await this.#plain(read, { ...entry, text: item.text }, folder));
    }
  }

  async #plain(
    item: Extract<ItemText, { kind: 'digest' | 'reference' }>,
    source: Place,
    folder: string,
  ): Promise<EnvItem> {
    if (item.kind === 'digest') return { ...item, source };
    const hint = await this.#hint(source.text, folder);
    return { ...item, text: source.text, hint, source };
  }

  /** The name of a directory that exists, where no such tag does, means the directory. */
  async #hint(text: string, folder: string): Promise<string | undefined> {
    const path = resolve(folder, text);
    try {
      const found = await this.#files.stat(`${path}/${directorySpecFile}`);
      return found?.kind === 'file' ? `write ${shown(path)} for the ${directorySpecFile} there` : undefined;
    } catch {
      return undefined; // it is a hint
    }
  }

  async #specFile(path: string, where: Where, source: Place, chain: readonly string[]): Promise<void> {
    const { file, identity } = await locateSpec(path, this.#files, where);
    const way = [...chain, file];
    const before = this.#met.get(identity);
    if (before !== undefined) throw metTwice(where, before, way);
    this.#met.set(identity, way);
    const { kind, document } = await readSpec(file, this.#files, where);
    if (kind === 'live-layer') {
      this.items.push({ kind: 'live-layer', layer: await readLiveLayer(document, this.#files, this.#warn), source });
      return;
    }
    if (chain.length >= deepestRunSpec) {
      const what = `run specs are nested more than ${deepestRunSpec} deep: ${shownWay(way)}`;
      throw specError(where, what, { next: 'name the layers in fewer files', chain: way });
    }
    for (const { text, ...entry } of readRunSpec(document, this.#warn)) {
      await this.spec(text, entry, [...chain, `${file}:${entry.line}`]);
    }
  }
}

function metTwice(where: Where, before: readonly string[], way: readonly string[]) {
  const [first, file] = [before.at(-1) ?? '', way.at(-1) ?? ''];
  const same = first === file ? '' : `, which is the file ${shown(first)},`;
  const includesItself = before.slice(0, -1).every((step, index) => step === way[index]) && way.length > before.length;
  const loop = includesItself && (way[before.length - 1] ?? '').startsWith(`${first}:`);
  const what = loop
    ? `${shown(file)}${same} includes itself: ${shownWay(way)}`
    : `${shown(file)}${same} is named twice: ${shownWay(before)}, and ${shownWay(way)}`;
  return specError(where, what, { next: 'name each spec file once', chain: way });
}

/** The way from the env spec to a file; of a long one, its ends. */
function shownWay(way: readonly string[]): string {
  const steps = way.length <= 8 ? way : [...way.slice(0, 3), `… ${way.length - 6} more …`, ...way.slice(-3)];
  return ['env spec', ...steps.map((step) => (step.startsWith('…') ? step : shown(step)))].join(' → ');
}
