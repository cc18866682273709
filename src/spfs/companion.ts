import { connectAsClient, type ContainerdClient } from '../containerd/index.js';
import { CodedError } from '../errors.js';
import type { Logger } from '../log.js';
import { listedOldestFirst, type Digest, type OldestFirst } from '../vocabulary.js';
import { Browser } from './browse/index.js';
import { Chains, spfsNamespace, type OpenOptions } from './chains/index.js';
import type { SpfsConfig } from './config/index.js';
import {
  hostSpecFiles,
  parseEnvSpec,
  parseTagName,
  type DigestItem,
  type EnvItem,
  type ReferenceItem,
} from './grammar/index.js';
import {
  findImage,
  importFolder,
  importImage,
  importTar,
  type ImportContext,
  type Imported,
  type Progress,
} from './import/index.js';
import type { Environment, Layer, OpenChain, Platform, StoredObject, TagEntry } from './model.js';
import { keepAndTag, untagAndGiveUp, type KeepingOptions } from './keeping.js';
import { checkLiveLayers, checkWorkingFolder, type RunPlaces } from './places.js';
import { resolveItem, resolveLayers } from './resolve.js';
import { describeItems, namedObjects, type Described, type NamedObject } from './describe.js';
import { resolveReference, SpfsStore, type StoreChange, type TagStream } from './store/index.js';
import { currentUser } from './user.js';

export interface CompanionOptions {
  readonly config: SpfsConfig;
  readonly log: Logger;
}

export type ImportSource =
  | { readonly from: 'image'; readonly name: string; readonly as: 'platform' | 'layer' }
  | { readonly from: 'tar' | 'directory'; readonly path: string };

export interface ImportRequest {
  readonly source: ImportSource;
  /** At least one. */
  readonly tags: readonly string[];
  readonly onProgress?: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

export interface Counts {
  readonly layers: number;
  readonly platforms: number;
  readonly tags: number;
}

/**
 * All that spfs does with layers, platforms and tags. Nothing is connected or opened before it is needed: what only reads the
 * store works without containerd.
 *
 * Every method throws CodedError: what the store, the grammar, the chains and the imports throw.
 */
export class Companion {
  readonly #options: CompanionOptions;
  readonly #store: SpfsStore;
  #containerd: ContainerdClient | undefined;
  #chains: Chains | undefined;

  constructor(options: CompanionOptions) {
    this.#options = options;
    const { config, log } = options;
    this.#store = new SpfsStore({ root: config.storageRoot, log });
  }

  /** Ends the connection to containerd. */
  close(): void {
    this.#containerd?.close();
  }

  /** Makes an image, a tar or a directory an object with tags. A call that fails leaves neither object nor tag. */
  async import({ source, tags, onProgress, signal }: ImportRequest): Promise<Imported> {
    const names = tags.map(parseTagName);
    const imported = await importFrom(
      source,
      {
        containerd: this.#connected(),
        chains: this.#chainsOf(),
        log: this.#options.log,
        onProgress,
        signal,
      },
      this.#options.config.imageNamespace,
    );
    try {
      const find = (change: StoreChange) => {
        for (const layer of imported.layers) change.putObject(layer);
        change.putObject(imported.object);
        return Promise.resolve(imported.object);
      };
      await this.#keepAndTag('import', names, find, signal);
      return imported;
    } finally {
      await imported.release();
    }
  }

  /** Gives what an env spec of one item names further tags. */
  async tag(reference: string, tags: readonly string[], signal: AbortSignal): Promise<StoredObject> {
    const names = tags.map(parseTagName);
    const item = oneObject(reference, await this.#parse(reference));
    return this.#keepAndTag('tag', names, (change) => resolveItem(change, item), signal);
  }

  /**
   * Removes tags with their histories. What no tag reaches any more is given up; containerd collects it.
   *
   * @returns the digests of the objects that went.
   */
  async untag(tags: readonly string[], signal: AbortSignal): Promise<readonly Digest[]> {
    return untagAndGiveUp(this.#keeping(), tags.map(parseTagName), signal);
  }

  /** The tags below a prefix, ordered by name. */
  tags(prefix?: string): Promise<readonly TagStream[]> {
    return this.#store.read((view) => view.tags(prefix));
  }

  /** The history of a tag, newest first. */
  async log(name: string): Promise<readonly TagEntry[]> {
    const tag = { name: parseTagName(name), version: 0 };
    return this.#store.read(async (view) => {
      await resolveReference(view, { text: name, tag });
      return view.history(tag.name);
    });
  }

  /** What each item of an env spec is. */
  async describe(spec: string): Promise<readonly Described[]> {
    const items = await this.#parse(spec);
    return this.#store.read((view) => describeItems(view, items));
  }

  layers(): Promise<readonly NamedObject<Layer>[]> {
    return this.#store.read((view) => namedObjects(view, (object) => object.kind === 'layer'));
  }

  platforms(): Promise<readonly NamedObject<Platform>[]> {
    return this.#store.read((view) => namedObjects(view, (object) => object.kind === 'platform'));
  }

  counts(): Promise<Counts> {
    return this.#store.read(async (view) => {
      const objects = await view.objects();
      const platforms = objects.filter(({ kind }) => kind === 'platform').length;
      return { layers: objects.length - platforms, platforms, tags: (await view.tags()).length };
    });
  }

  /** Looks every item of an env spec up. Run specs and live layers are read and checked. */
  async environment(spec: string): Promise<Environment> {
    const items = await this.#parse(spec);
    const liveLayers = items.flatMap((item) => (item.kind === 'live-layer' ? [item.layer] : []));
    if (liveLayers.length === items.length) return { layers: emptyStack, liveLayers };
    return { layers: await this.#store.read((view) => resolveLayers(view, items)), liveLayers };
  }

  /**
   * Looks whether a run can have its live layers and start its command where it shall, before anything boots.
   *
   * @throws CodedError as `checkLiveLayers` and `checkWorkingFolder` do
   */
  async checkRun(places: RunPlaces, cwd: string | undefined): Promise<void> {
    await checkLiveLayers(places, (warning) => this.#options.log.warn(warning));
    if (cwd !== undefined) await checkWorkingFolder(cwd, places);
  }

  /** The disks of a stack, for this process, until they are closed. */
  async open(layers: OldestFirst<Digest>, o: OpenOptions): Promise<OpenChain> {
    // An empty stack asks nothing of containerd, which may then be down.
    if (layers.length === 0) return { chain: { name: '', layers }, mounts: [], close: () => Promise.resolve() };
    const chains = this.#chainsOf();
    await chains.sweep(o.signal).catch((error: unknown) => {
      this.#options.log.debug({ err: error }, 'could not sweep what ended runs had left');
    });
    return chains.open(layers, o);
  }

  /** The disks of an image that containerd has, as `open` gives those of a stack. */
  async openImage(name: string, signal: AbortSignal): Promise<OpenChain> {
    const namespace = this.#options.config.imageNamespace;
    const { layers, blobs } = await findImage({ containerd: this.#connected(), name, namespace, signal });
    return this.open(layers, { blobs, signal });
  }

  /** Opens the stack of an env spec for `ls` and `cat`. */
  async browse<T>(spec: string, signal: AbortSignal, work: (browser: Browser) => Promise<T>): Promise<T> {
    const { layers, liveLayers } = await this.environment(spec);
    const [live] = liveLayers;
    if (live !== undefined) {
      throw new CodedError('invalid-argument', `${spec} has a live layer, whose files are on this machine`, {
        facts: { spec, file: live.file },
        next: 'leave it out; what it shows is below ' + (live.binds[0]?.source ?? live.file),
      });
    }
    const open = await this.open(layers, { signal });
    try {
      return await work(new Browser(spec, open.mounts));
    } finally {
      await open.close();
    }
  }

  #parse(spec: string): Promise<readonly EnvItem[]> {
    return parseEnvSpec(spec, hostSpecFiles(), (warning) => this.#options.log.warn(warning));
  }

  #keepAndTag(
    what: string,
    names: readonly string[],
    find: (change: StoreChange) => Promise<StoredObject>,
    signal: AbortSignal,
  ): Promise<StoredObject> {
    const user = currentUser(this.#options.config);
    return keepAndTag(this.#keeping(), { reason: `${what} ${names.join(' ')}`, names, user, find, signal });
  }

  #keeping(): KeepingOptions {
    return { store: this.#store, chains: this.#chainsOf(), log: this.#options.log };
  }

  #connected(): ContainerdClient {
    const { config, log } = this.#options;
    this.#containerd ??= connectAsClient({
      address: config.containerdAddress,
      defaultNamespace: spfsNamespace,
      log,
    });
    return this.#containerd;
  }

  #chainsOf(): Chains {
    const { config, log } = this.#options;
    this.#chains ??= new Chains({
      containerd: this.#connected(),
      snapshotter: config.snapshotter,
      keeper: () => this.#store.id,
      log,
    });
    return this.#chains;
  }
}

const emptyStack = listedOldestFirst<Digest>([]);

function importFrom(source: ImportSource, context: ImportContext, namespace: string): Promise<Imported> {
  if (source.from === 'image') return importImage({ ...context, name: source.name, namespace, as: source.as });
  const { from, path } = source;
  return from === 'tar' ? importTar({ ...context, path }) : importFolder({ ...context, path });
}

function oneObject(reference: string, items: readonly EnvItem[]): DigestItem | ReferenceItem {
  const [item, ...others] = items;
  if (item !== undefined && item.kind !== 'live-layer' && others.length === 0) return item;
  const many = others.length === 0 ? 'a live layer' : `${others.length + 1} objects`;
  const what = item === undefined ? 'the empty environment' : many;
  throw new CodedError('invalid-argument', `${reference} is ${what}, and a tag names one layer or platform`, {
    facts: { reference },
    next: 'give a tag or a digest',
  });
}
