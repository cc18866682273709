import { CodedError } from '../errors.js';
import { type Operation, type Table } from '../leveldb/index.js';
import { childKey, childRange, countersKey, idKey, type Counters, type Database } from './database.js';
import { abridged, checkKey, checkLabels } from './keys.js';
import { revised, type SnapshotRecord } from './record.js';
import { parseRecord, serializeRecord } from './stored-record.js';

/** Where numbers for snapshots come from. */
export interface Ids {
  reserveId(): number;
  /** Gives out no number up to this one. */
  skipIds(highest: number): void;
}

/** What goes with a transaction outside the database. Neither may throw. */
export interface Companion {
  /** It is on the disk. */
  readonly committed: () => Promise<void>;
  /** It did not take place. */
  readonly failed: () => Promise<void>;
}

/**
 * One exclusive piece of work on the store. Reads see the writes made so far; nothing reaches the disk before
 * {@link operations} is committed as one batch. Only `MetadataStore.exclusive` makes one.
 */
export class Transaction {
  readonly #database: Database;
  readonly #counters: Counters;
  readonly #ids: Ids;
  readonly #written = new Map<string, SnapshotRecord | undefined>();
  /** Changes of the index: `children` key → now there, or now gone. */
  readonly #childChanges = new Map<string, boolean>();
  readonly #idChanges = new Map<number, string | undefined>();
  readonly #refusal: CodedError | undefined;
  readonly #companions: Companion[] = [];
  #added = 0;
  #open = true;

  /** @param refusal why nothing can be written now: the first change throws it */
  constructor(database: Database, counters: Counters, ids: Ids, refusal?: CodedError) {
    this.#refusal = refusal;
    this.#database = database;
    this.#counters = counters;
    this.#ids = ids;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** The records written here, by key; undefined for deleted ones. */
  get written(): ReadonlyMap<string, SnapshotRecord | undefined> {
    return this.#written;
  }

  async get(key: string): Promise<SnapshotRecord | undefined> {
    this.#checkOpen();
    if (this.#written.has(key)) return this.#written.get(key);
    const text = await this.#database.snapshots.get(key);
    return text === undefined ? undefined : parseRecord(text, abridged(key));
  }

  /** The keys whose parent is `key`, in the order of their bytes. */
  async children(key: string): Promise<string[]> {
    this.#checkOpen();
    const prefix = childKey(key, '');
    const found = new Set(await this.#database.children.keys(childRange(key)).all());
    for (const [child, present] of this.#childChanges) {
      if (!child.startsWith(prefix)) continue;
      if (present) found.add(child);
      else found.delete(child);
    }
    return [...found].map((child) => child.slice(prefix.length)).sort(byBytes);
  }

  /**
   * @throws CodedError `already-exists` when the key is taken; `not-found` when the parent is missing;
   *   `invalid-argument` when the parent is not committed, or key or labels are out of bounds
   */
  async insert(record: SnapshotRecord): Promise<void> {
    this.#checkWritable();
    checkKey(record.key, 'key');
    await this.#checkFree(record.key);
    if (await this.#idTaken(record.id)) throw misuse(`id ${record.id} is taken`);
    await this.#checkParent(record);
    checkLabels(record.labels);
    this.#ids.skipIds(record.id);
    this.#put(undefined, record);
  }

  /**
   * Writes a record over the one with its key and id.
   *
   * @returns what is written, with its revision
   * @throws CodedError as `insert`, `not-found` when absent
   */
  async replace(record: SnapshotRecord): Promise<SnapshotRecord> {
    this.#checkWritable();
    const old = await this.#existing(record.key);
    if (old.id !== record.id) throw misuse(`replacing ${abridged(record.key)} would change its id`);
    if (old.parent !== record.parent) await this.#checkParent(record);
    checkLabels(record.labels);
    const after = revised(record, old);
    this.#put(old, after);
    return after;
  }

  /** Commit: the snapshot at `oldKey` becomes `record`, under the record's key, with the same id. @returns what is written */
  async rename(oldKey: string, record: SnapshotRecord): Promise<SnapshotRecord> {
    this.#checkWritable();
    checkKey(record.key, 'name');
    const old = await this.#existing(oldKey);
    if (old.id !== record.id) throw misuse(`renaming ${abridged(oldKey)} would change its id`);
    await this.#checkFree(record.key);
    await this.#checkChildless(oldKey);
    if (old.parent !== record.parent || record.parent === oldKey) await this.#checkParent(record, oldKey);
    checkLabels(record.labels);
    const after = revised(record, old);
    this.#drop(old);
    this.#put(undefined, after);
    return after;
  }

  /** @throws CodedError `not-found`; `failed-precondition` when it has children */
  async delete(key: string): Promise<void> {
    this.#checkWritable();
    const old = await this.#existing(key);
    await this.#checkChildless(key);
    this.#drop(old);
  }

  /** A number that no snapshot had before: ids only grow, across removals and restarts. */
  nextId(): number {
    this.#checkOpen();
    return this.#ids.reserveId();
  }

  /** Adds what becomes of files when the transaction ends, before the next one begins. */
  with(companion: Companion): void {
    this.#checkOpen();
    this.#companions.push(companion);
  }

  /** To be called once, when it is known whether the transaction took place. */
  async settle(outcome: 'committed' | 'failed'): Promise<void> {
    for (const companion of this.#companions.splice(0)) await companion[outcome]();
  }

  /** Ends the transaction. Work that outlives its `exclusive` call is refused instead of lost. */
  finish(): void {
    this.#open = false;
  }

  /** Everything written, as one batch, with the counters that belong to it. */
  operations(nextId: number): { counters: Counters; operations: Operation[] } {
    const { snapshots, children, ids, meta } = this.#database;
    const operations: Operation[] = [];
    const write = (sublevel: Table, key: string, value: string | undefined) =>
      operations.push(value === undefined ? { type: 'del', sublevel, key } : { type: 'put', sublevel, key, value });
    for (const [key, record] of this.#written) write(snapshots, key, record && serializeRecord(record));
    for (const [child, present] of this.#childChanges) write(children, child, present ? '' : undefined);
    for (const [id, key] of this.#idChanges) write(ids, idKey(id), key);
    const counters = {
      nextId,
      snapshots: this.#counters.snapshots + this.#added,
      commits: this.#counters.commits + 1,
    };
    const changed = operations.length > 0 || nextId !== this.#counters.nextId;
    if (changed) write(meta, countersKey, JSON.stringify(counters));
    return { counters, operations };
  }

  #put(old: SnapshotRecord | undefined, record: SnapshotRecord): void {
    if (old === undefined) this.#added += 1;
    else if (old.parent !== '') this.#childChanges.set(childKey(old.parent, old.key), false);
    this.#written.set(record.key, record);
    this.#idChanges.set(record.id, record.key);
    if (record.parent !== '') this.#childChanges.set(childKey(record.parent, record.key), true);
  }

  #drop(old: SnapshotRecord): void {
    this.#added -= 1;
    this.#written.set(old.key, undefined);
    this.#idChanges.set(old.id, undefined);
    if (old.parent !== '') this.#childChanges.set(childKey(old.parent, old.key), false);
  }

  async #existing(key: string): Promise<SnapshotRecord> {
    const record = await this.get(key);
    if (record) return record;
    throw new CodedError('not-found', `there is no snapshot ${abridged(key)}`, {
      facts: { key },
      next: 'list the snapshots to see which there are',
    });
  }

  async #checkFree(key: string): Promise<void> {
    const taken = await this.get(key);
    if (!taken) return;
    throw new CodedError('already-exists', `${abridged(key)} is taken by a snapshot of kind ${taken.kind}`, {
      facts: { key, id: taken.id, kind: taken.kind },
      next: 'choose another key, or remove that snapshot',
    });
  }

  async #idTaken(id: number): Promise<boolean> {
    if (this.#idChanges.has(id)) return this.#idChanges.get(id) !== undefined;
    return (await this.#database.ids.get(idKey(id))) !== undefined;
  }

  async #checkParent({ key, parent }: SnapshotRecord, oldKey = key): Promise<void> {
    if (parent === '') return;
    const record = parent === key || parent === oldKey ? undefined : await this.get(parent);
    if (!record) {
      throw new CodedError('not-found', `the parent ${abridged(parent)} of ${abridged(key)} does not exist`, {
        facts: { key, parent },
        next: 'name a committed snapshot as parent',
      });
    }
    if (record.kind === 'committed') return;
    throw new CodedError('invalid-argument', `the parent ${abridged(parent)} is ${record.kind}, not committed`, {
      facts: { key, parent, kind: record.kind },
      next: 'commit it first, or name a committed snapshot',
    });
  }

  async #checkChildless(key: string): Promise<void> {
    const children = await this.children(key);
    if (children.length === 0) return;
    throw new CodedError('failed-precondition', `the snapshot ${abridged(key)} has ${children.length} children`, {
      facts: { key, children: children.slice(0, 10) },
      next: 'remove the children first',
    });
  }

  #checkWritable(): void {
    if (this.#refusal) throw this.#refusal;
  }

  #checkOpen(): void {
    if (!this.#open) throw misuse('the transaction has ended');
  }
}

function misuse(what: string): CodedError {
  return new CodedError('internal', `metadata: ${what}`);
}

/** The order of LevelDB's keys. */
export function byBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}
