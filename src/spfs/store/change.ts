import { CodedError } from '../../errors.js';
import type { Operation } from '../../leveldb/index.js';
import type { Digest } from '../../vocabulary.js';
import { toBase32 } from '../digest.js';
import type { StoredObject, TagEntry } from '../model.js';
import { putCounters, type Counters, type Database } from './database.js';
import { LevelView, rowKey, type Row } from './level-view.js';
import { unknownTag } from './resolve.js';
import type { StoreChange } from './view.js';

/** A tag that this change touches: its rows in the database and as they are to be, newest first. */
interface Touched {
  readonly before: ReadonlySet<Row>;
  rows: Row[];
}

/** What one exclusive piece of work wants to write. Only `SpfsStore.exclusive` makes one. */
export class Change extends LevelView implements StoreChange {
  readonly #counters: Counters;
  readonly #put = new Map<string, StoredObject>();
  readonly #dropped = new Set<string>();
  readonly #touched = new Map<string, Touched>();
  #open = true;

  constructor(database: Database, counters: Counters) {
    super(database);
    this.#counters = counters;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  putObject(object: StoredObject): void {
    this.#checkOpen();
    const base32 = toBase32(object.digest);
    this.#dropped.delete(base32);
    if (!this.#put.has(base32)) this.#put.set(base32, object);
  }

  async pushTag(name: string, entry: TagEntry): Promise<void> {
    checkName(name);
    if (!(await this.object(entry.digest))) {
      throw new CodedError(
        'not-found',
        `the tag ${name} cannot be given to ${toBase32(entry.digest)}: no such object`,
        {
          facts: { tag: name, digest: entry.digest },
          next: 'import it first',
        },
      );
    }
    const { rows } = await this.#touch(name);
    const newest = rows[0];
    if (newest?.entry.digest === entry.digest) return;
    rows.unshift({ sequence: (newest?.sequence ?? 0) + 1, entry });
  }

  async removeTag(name: string): Promise<readonly Digest[]> {
    const touched = await this.#touch(name);
    if (touched.rows.length === 0) throw await unknownTag(this, name);
    touched.rows = [];
    const unreached = await this.#unreached();
    for (const digest of unreached) this.#dropped.add(toBase32(digest));
    return unreached;
  }

  /** Ends the change. Work that outlives its `exclusive` call is refused instead of lost. */
  finish(): void {
    this.#open = false;
  }

  /** Everything as one batch, with the counters that belong to it; nothing to write: undefined. */
  async batch(): Promise<{ operations: Operation[]; counters: Counters } | undefined> {
    const objects = await this.#objectOperations();
    const entries = this.#entryOperations();
    if (objects.length + entries.length === 0) return undefined;
    const counters = {
      objects: this.#counters.objects + growth(objects),
      entries: this.#counters.entries + growth(entries),
      commits: this.#counters.commits + 1,
    };
    return { operations: [...objects, ...entries, putCounters(this.database, counters)], counters };
  }

  protected override async readObject(base32: string): Promise<StoredObject | undefined> {
    this.#checkOpen();
    if (this.#dropped.has(base32)) return undefined;
    return (await super.readObject(base32)) ?? this.#put.get(base32);
  }

  protected override async readObjects(prefix: string): Promise<Map<string, StoredObject>> {
    this.#checkOpen();
    const found = await super.readObjects(prefix);
    for (const [base32, object] of this.#put) {
      if (base32.startsWith(prefix) && !found.has(base32)) found.set(base32, object);
    }
    for (const base32 of this.#dropped) found.delete(base32);
    return found;
  }

  protected override async readRows(name: string): Promise<readonly Row[]> {
    this.#checkOpen();
    return [...(this.#touched.get(name)?.rows ?? (await super.readRows(name)))];
  }

  protected override async readStreams(prefix: string): Promise<Map<string, readonly Row[]>> {
    this.#checkOpen();
    const found = await super.readStreams(prefix);
    for (const [name, { rows }] of this.#touched) {
      if (!name.startsWith(prefix)) continue;
      if (rows.length === 0) found.delete(name);
      else found.set(name, [...rows]);
    }
    return found;
  }

  /** Two calls at once get the same rows: what one adds, the other sees. */
  async #touch(name: string): Promise<Touched> {
    this.#checkOpen();
    const stored = this.#touched.has(name) ? [] : await super.readRows(name);
    const known = this.#touched.get(name);
    if (known) return known;
    const touched = { before: new Set(stored), rows: [...stored] };
    this.#touched.set(name, touched);
    return touched;
  }

  async #unreached(): Promise<readonly Digest[]> {
    const named = new Set((await this.tags()).flatMap(({ history }) => history.map(({ digest }) => digest)));
    const objects = await this.objects();
    const reached = new Set(named);
    for (const object of objects) {
      if (object.kind !== 'platform' || !named.has(object.digest)) continue;
      for (const layer of object.layers) reached.add(layer);
    }
    return objects
      .map(({ digest }) => digest)
      .filter((digest) => !reached.has(digest) && !this.#put.has(toBase32(digest)));
  }

  async #objectOperations(): Promise<Operation[]> {
    const { objects: sublevel } = this.database;
    const operations: Operation[] = [...this.#dropped].map((key) => ({ type: 'del', sublevel, key }));
    for (const [key, object] of this.#put) {
      if ((await super.readObject(key)) !== undefined) continue;
      operations.push({ type: 'put', sublevel, key, value: JSON.stringify(object) });
    }
    return operations;
  }

  #entryOperations(): Operation[] {
    const { tags: sublevel } = this.database;
    return [...this.#touched].flatMap(([name, { before, rows }]) => {
      const [key, now] = [({ sequence }: Row) => rowKey(name, sequence), new Set(rows)];
      const gone = [...before].filter((row) => !now.has(row));
      const added = rows.filter((row) => !before.has(row));
      return [
        ...gone.map((row) => ({ type: 'del', sublevel, key: key(row) }) as const),
        ...added.map((row) => ({ type: 'put', sublevel, key: key(row), value: JSON.stringify(row.entry) }) as const),
      ];
    });
  }

  #checkOpen(): void {
    if (!this.#open) throw new CodedError('internal', 'store: the change has ended');
  }
}

/** Every put of a batch is of a key that is not there, every del of one that is; a del comes before the put of its key. */
function growth(operations: readonly Operation[]): number {
  return operations.reduce((sum, { type }) => sum + (type === 'put' ? 1 : -1), 0);
}

/** The grammar has looked at it; this only keeps keys apart. */
function checkName(name: string): void {
  if (name === '' || name.includes('\0')) {
    throw new CodedError('internal', `store: ${JSON.stringify(name)} is not the name of a tag`);
  }
}
