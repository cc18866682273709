import type { Digest } from '../../vocabulary.js';
import type { StoredObject, TagEntry } from '../model.js';

/** A tag and its history, the newest entry first. */
export interface TagStream {
  readonly name: string;
  readonly history: readonly TagEntry[];
}

/** What the store holds, at one moment. */
export interface StoreView {
  object(digest: Digest): Promise<StoredObject | undefined>;
  /** Every object, ordered by its digest in base32. */
  objects(): Promise<readonly StoredObject[]>;
  /** The objects whose digest in base32 begins with this text. */
  startingWith(partialBase32: string): Promise<readonly StoredObject[]>;
  /** Newest first; empty: there is no such tag. */
  history(name: string): Promise<readonly TagEntry[]>;
  /** Those whose name begins with `prefix`, ordered by name. */
  tags(prefix?: string): Promise<readonly TagStream[]>;
  /** The tags whose newest entry is this digest, ordered. */
  namesOf(digest: Digest): Promise<readonly string[]>;
}

/** The store while it is held exclusively. Reads see the changes made so far; the disk sees them all at once, at the end. */
export interface StoreChange extends StoreView {
  /** An object that is there already keeps its origin and its time. */
  putObject(object: StoredObject): void;
  /**
   * Makes `entry` the newest of the tag, unless the newest has the same digest already. `name` is one that the grammar's
   * `parseTagName` lets pass.
   *
   * @throws CodedError `not-found` when there is no object with that digest
   */
  pushTag(name: string, entry: TagEntry): Promise<void>;
  /**
   * Removes the tag with its history, and every object that no tag reaches any more: neither an entry of any tag's history
   * names it, nor a platform that one names. Objects put by this change stay.
   *
   * @returns the digests of the objects that went
   * @throws CodedError `not-found` naming tags with a similar name
   */
  removeTag(name: string): Promise<readonly Digest[]>;
}
