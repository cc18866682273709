import { CodedError } from '../errors.js';
import { listedOldestFirst, type Digest, type OldestFirst } from '../vocabulary.js';
import { describePlace, type DigestItem, type EnvItem, type ReferenceItem } from './grammar/index.js';
import type { StoredObject } from './model.js';
import { resolveReference, type StoreView } from './store/index.js';

/**
 * The stack that the items of an env spec stand for, each layer once. As in spfs 0.44 (`graph::Stack::push` and
 * `resolve_stack_to_layers`): of items that are one object the last counts; then platforms stand for their layers, and of equal
 * layers the lowest stays.
 */
export async function resolveLayers(view: StoreView, items: readonly EnvItem[]): Promise<OldestFirst<Digest>> {
  const objects = new Map<Digest, StoredObject>();
  for (const item of items) {
    if (item.kind === 'live-layer') continue;
    const object = await resolveItem(view, item);
    objects.delete(object.digest); // so that it goes to the end
    objects.set(object.digest, object);
  }
  // Items, and the layers of a platform, are written from the lowest up.
  const layers = new Set([...objects.values()].flatMap((object) => [...layersOf(object)]));
  return listedOldestFirst([...layers]);
}

/**
 * Looks one item up: a digest, the beginning of one, a tag.
 *
 * @throws CodedError as `resolveReference` does; for an item of a file, the message begins with its place
 */
export async function resolveItem(view: StoreView, item: DigestItem | ReferenceItem): Promise<StoredObject> {
  const { source } = item;
  const { text } = source;
  try {
    return await resolveReference(view, item.kind === 'digest' ? { text, digest: item.digest } : { ...item, text });
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    throw placed(error, item);
  }
}

function placed(error: CodedError, item: DigestItem | ReferenceItem): CodedError {
  const { file, line, field } = item.source;
  const hint = item.kind === 'reference' && error.code === 'not-found' ? item.hint : undefined;
  if (file === undefined && hint === undefined) return error;
  const place = describePlace(item.source);
  return new CodedError(error.code, place === '' ? error.message : `${place}: ${error.message}`, {
    facts: {
      ...error.facts,
      file,
      line,
      field,
    },
    next: hint ?? error.next,
    cause: error,
  });
}

/** The layers that an object adds to a stack, the lowest first. */
export function layersOf(object: StoredObject): OldestFirst<Digest> {
  return object.kind === 'platform' ? object.layers : listedOldestFirst([object.digest]);
}
