import type { Digest, OldestFirst } from '../vocabulary.js';
import { mapOldestFirst } from '../vocabulary.js';
import type { EnvItem, LiveLayerItem } from './grammar/index.js';
import type { StoredObject } from './model.js';
import { layersOf, resolveItem } from './resolve.js';
import type { StoreView } from './store/index.js';

/** An object, and the tags whose newest entry it is. */
export interface NamedObject<T extends StoredObject = StoredObject> {
  readonly object: T;
  readonly tags: readonly string[];
}

export interface NamedDigest {
  readonly digest: Digest;
  readonly tags: readonly string[];
}

/** One item of an env spec, looked up. */
export type Described =
  LiveLayerItem | ({ readonly kind: 'object'; readonly stack: OldestFirst<NamedDigest> } & NamedObject);

/** What each item of an env spec is, with the layers that it adds to the stack. */
export async function describeItems(view: StoreView, items: readonly EnvItem[]): Promise<readonly Described[]> {
  const names = await namesByDigest(view);
  const tagsOf = (digest: Digest) => names.get(digest) ?? [];
  const described: Described[] = [];
  for (const item of items) {
    if (item.kind === 'live-layer') {
      described.push(item);
      continue;
    }
    const object = await resolveItem(view, item);
    const stack = mapOldestFirst(layersOf(object), (digest) => ({ digest, tags: tagsOf(digest) }));
    described.push({ kind: 'object', object, tags: tagsOf(object.digest), stack });
  }
  return described;
}

/** The objects of one kind, ordered by digest. */
export async function namedObjects<T extends StoredObject>(
  view: StoreView,
  isWanted: (object: StoredObject) => object is T,
): Promise<readonly NamedObject<T>[]> {
  const names = await namesByDigest(view);
  return (await view.objects()).filter(isWanted).map((object) => ({ object, tags: names.get(object.digest) ?? [] }));
}

async function namesByDigest(view: StoreView): Promise<ReadonlyMap<Digest, readonly string[]>> {
  const names = new Map<Digest, string[]>();
  for (const { name, history } of await view.tags()) {
    const digest = history[0]?.digest;
    if (digest === undefined) continue;
    const known = names.get(digest);
    if (known) known.push(name);
    else names.set(digest, [name]);
  }
  return names;
}
