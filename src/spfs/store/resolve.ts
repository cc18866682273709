import { CodedError } from '../../errors.js';
import type { Digest } from '../../vocabulary.js';
import { toBase32 } from '../digest.js';
import type { StoredObject } from '../model.js';
import { similarTo } from '../../similar.js';
import type { StoreView } from './view.js';

const mostCandidates = 10;

/** What a person wrote for an object, and what it can mean; tried in this order. */
export interface Reference {
  /** As it was written, for messages. */
  readonly text: string;
  readonly digest?: Digest;
  /** The beginning of a digest in base32. */
  readonly partial?: string;
  /** Version 0 is the newest entry of the tag. */
  readonly tag?: { readonly name: string; readonly version: number } | undefined;
}

/**
 * @throws CodedError `not-found` naming similar tags, or how many entries the tag has; `failed-precondition` with the
 *   candidates when several digests begin so; `data-loss` when a tag names an object that is gone
 */
export async function resolveReference(view: StoreView, reference: Reference): Promise<StoredObject> {
  const { text, digest, partial, tag } = reference;
  const whole = digest === undefined ? undefined : await view.object(digest);
  if (whole) return whole;
  const [only, ...others] = partial === undefined ? [] : await view.startingWith(partial);
  if (only && others.length > 0) throw await ambiguous(view, reference, [only, ...others]);
  if (only) return only;
  if (tag) return tagged(view, tag, partial === undefined ? undefined : text);
  throw new CodedError('not-found', `${text}: there is no object with ${digest ? 'this' : 'such a'} digest here`, {
    facts: { reference: text },
    next: '`spfs layers` and `spfs platforms` list what is here, `spfs import` adds to it',
  });
}

/** @param alsoPartial given when the text was looked for among the digests too */
async function tagged(
  view: StoreView,
  { name, version }: { readonly name: string; readonly version: number },
  alsoPartial: string | undefined,
): Promise<StoredObject> {
  const history = await view.history(name);
  if (history.length === 0) throw await unknownTag(view, name, alsoPartial !== undefined);
  const entry = history[version];
  if (!entry) {
    const entries = history.length === 1 ? 'one entry, ~0' : `${history.length} entries, ~0 to ~${history.length - 1}`;
    throw new CodedError('not-found', `the tag ${name} has ${entries}: there is no ~${version}`, {
      facts: { tag: name, version, entries: history.length },
      next: `\`spfs log ${name}\` shows them`,
    });
  }
  const object = await view.object(entry.digest);
  if (object) return object;
  throw new CodedError('data-loss', `the tag ${name} names ${toBase32(entry.digest)}, which is not here any more`, {
    facts: { tag: name, version, digest: entry.digest },
    next: `import it again, and give it the tag ${name}`,
  });
}

/** @param alsoDigest whether the name could have been the beginning of a digest as well */
export async function unknownTag(view: StoreView, name: string, alsoDigest = false): Promise<CodedError> {
  const names = (await view.tags()).map((stream) => stream.name);
  const similar = similarTo(name, names);
  const other = alsoDigest ? ', and no object whose digest begins so' : '';
  const hint = similar.length === 0 ? '' : `; similar: ${similar.join(', ')}`;
  return new CodedError('not-found', `there is no tag ${name}${other}${hint}`, {
    facts: { tag: name, similar },
    next: '`spfs tags` lists the tags, `spfs import` makes one from an image, a tar or a directory',
  });
}

async function ambiguous(
  view: StoreView,
  { text, tag }: Reference,
  found: readonly StoredObject[],
): Promise<CodedError> {
  const candidates: string[] = [];
  for (const { kind, digest } of found.slice(0, mostCandidates)) {
    const names = await view.namesOf(digest);
    candidates.push(`${kind} ${toBase32(digest)}${names.length === 0 ? '' : ` (${names.join(', ')})`}`);
  }
  const rest = found.length > mostCandidates ? `, and ${found.length - mostCandidates} more` : '';
  const named = tag && tag.version === 0 && (await view.history(tag.name)).length > 0;
  return new CodedError('failed-precondition', `${text} can be ${candidates.join(', ')}${rest}`, {
    facts: { reference: text, candidates, found: found.length },
    next: `give more characters of the digest${named ? `, or ${tag.name}~0 for the tag of this name` : ''}`,
  });
}
