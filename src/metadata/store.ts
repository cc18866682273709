import { AsyncLocalStorage } from 'node:async_hooks';
import { SnapshotterError } from '../errors.js';
import { Slots } from '../jobs.js';
import type { Logger } from '../log.js';
import { newestFirst, type NewestFirst } from '../vocabulary.js';
import {
  childRange,
  countersKey,
  formatKey,
  formatVersion,
  fromLevel,
  idKey,
  openDatabase,
  parseCounters,
  type Counters,
  type Database,
} from './database.js';
import { abridged } from './keys.js';
import { rebuildDatabase, type RebuildReport } from './rebuild.js';
import { parseRecord, type SnapshotRecord } from './record.js';
import { Transaction } from './transaction.js';
import { verifyDatabase } from './verify.js';

/** A writer that keeps the others waiting for longer than this is logged. */
const slowHoldMs = 1000;

const emptyCounters: Counters = { nextId: 1, snapshots: 0, commits: 0 };

/**
 * The records of all snapshots, in LevelDB. Reads are free; every write goes through {@link exclusive}, one at a time,
 * and is on the disk when that resolves.
 */
export class MetadataStore {
  /** True when `open` found no database and made an empty one: not the same as a root without snapshots. */
  readonly created: boolean;
  readonly #folder: string;
  readonly #log: Logger;
  readonly #writer = new Slots(1);
  readonly #current = new AsyncLocalStorage<Transaction>();
  #database: Promise<Database>;
  #counters: Counters;
  #nextId: number;
  #closing: Promise<void> | undefined;

  private constructor(folder: string, log: Logger, database: Database, counters: Counters, created: boolean) {
    this.#folder = folder;
    this.#log = log;
    this.#database = Promise.resolve(database);
    this.#counters = counters;
    this.#nextId = counters.nextId;
    this.created = created;
  }

  /**
   * Opens the database in `folder`, or creates it, and checks every record and index.
   *
   * @throws SnapshotterError `data-loss` when it is damaged (then {@link rebuild}); `failed-precondition` when another
   *   process holds it or a newer release wrote it (then do not rebuild)
   */
  static async open(folder: string, log: Logger): Promise<MetadataStore> {
    const { database, created } = await openDatabase(folder);
    try {
      const counters = created ? await initialize(database) : await verifyDatabase(database, folder);
      return new MetadataStore(folder, log, database, counters, created);
    } catch (error) {
      await database.level.close();
      throw fromLevel(error, folder);
    }
  }

  /**
   * Makes a new database in `folder`, which must be absent or empty, from the records of the snapshot.json files.
   * Interrupted, it leaves a database that `open` refuses as `data-loss`.
   */
  static rebuild(folder: string, records: AsyncIterable<SnapshotRecord>, log: Logger): Promise<RebuildReport> {
    return rebuildDatabase(folder, records, log);
  }

  async get(key: string): Promise<SnapshotRecord | undefined> {
    const text = await this.#read(({ snapshots }) => snapshots.get(key));
    return text === undefined ? undefined : parseRecord(text, abridged(key));
  }

  /** The records of `keys`, in that order; undefined for those that are absent. */
  async getMany(keys: readonly string[]): Promise<(SnapshotRecord | undefined)[]> {
    const texts = await this.#read(({ snapshots }) => snapshots.getMany([...keys]));
    return texts.map((text, index) =>
      text === undefined ? undefined : parseRecord(text, abridged(keys[index] ?? '')),
    );
  }

  /**
   * An id for work that begins before its record can be written. It is on the disk with the next transaction; one that a
   * crash loses may be given again, so what was made under it must be swept first.
   */
  reserveId(): number {
    return this.#nextId++;
  }

  /** Makes every later id greater than `id`. */
  skipIds(id: number): void {
    this.#nextId = Math.max(this.#nextId, id + 1);
  }

  /** The snapshot with this id. */
  async byId(id: number): Promise<SnapshotRecord | undefined> {
    const key = await this.#read(({ ids }) => ids.get(idKey(id)));
    return key === undefined ? undefined : this.get(key);
  }

  /**
   * The committed snapshot `key` and its ancestors; empty for ''. One point in time.
   *
   * @throws SnapshotterError `not-found` when `key` is absent, `invalid-argument` when it is not committed, `data-loss`
   *   when an ancestor is missing or not committed, or the chain is a circle
   */
  async chain(key: string): Promise<NewestFirst<SnapshotRecord>> {
    return this.#read(async ({ level, snapshots }) => {
      const snapshot = level.snapshot();
      try {
        const chain: SnapshotRecord[] = [];
        const seen = new Set<string>();
        for (let next = key; next !== '';) {
          const text = await snapshots.get(next, { snapshot });
          const found = text === undefined ? undefined : parseRecord(text, abridged(next));
          const record = checkLink(found, next, chain.at(-1), seen);
          chain.push(record);
          next = record.parent;
        }
        return newestFirst(chain);
      } finally {
        await snapshot.close();
      }
    });
  }

  /** The keys whose parent is `key`, in the order of their bytes. */
  children(key: string): Promise<string[]> {
    return this.#read(({ children }) => children.keys(childRange(key)).all()).then((found) =>
      found.map((child) => child.slice(key.length + 1)),
    );
  }

  async hasChildren(key: string): Promise<boolean> {
    const found = await this.#read(({ children }) => children.keys({ ...childRange(key), limit: 1 }).all());
    return found.length > 0;
  }

  /** Every record, ordered by the bytes of its key, as of the moment the iteration starts; memory stays bounded. */
  async *all(): AsyncIterable<SnapshotRecord> {
    const iterator = await this.#read(({ snapshots }) => Promise.resolve(snapshots.iterator()));
    try {
      for await (const [key, text] of iterator) yield parseRecord(text, abridged(key));
    } catch (error) {
      throw fromLevel(error, this.#folder);
    }
  }

  count(): Promise<number> {
    return Promise.resolve(this.#counters.snapshots);
  }

  /**
   * THE one writer: calls run one after the other, in the order they came. What `work` wrote is committed as one synced
   * batch after it returns; nothing is written when it throws. Keep slow work outside.
   *
   * @param reason what the log calls it when it keeps others waiting
   * @throws what `work` throws; `resource-exhausted` when the disk is full; `unavailable` after {@link close}
   */
  async exclusive<T>(reason: string, work: (tx: Transaction) => Promise<T>): Promise<T> {
    if (this.#closing)
      throw new SnapshotterError('unavailable', `the metadata store is closing: ${reason} came too late`);
    if (this.#current.getStore()?.isOpen) {
      throw new SnapshotterError('internal', `metadata: ${reason} asked for a second transaction inside a transaction`);
    }
    return this.#writer.run(async () => {
      const started = performance.now();
      try {
        return await this.#transact(work);
      } finally {
        const ms = Math.round(performance.now() - started);
        if (ms > slowHoldMs) this.#log.warn({ reason, ms }, 'a metadata transaction kept the other writers waiting');
      }
    });
  }

  /** Waits for the transactions already asked for, then closes. */
  close(): Promise<void> {
    this.#closing ??= this.#writer.run(async () => {
      const database = await this.#database.catch(() => undefined);
      await database?.level.close();
    });
    return this.#closing;
  }

  async #transact<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const database = await this.#usable();
    const tx = new Transaction(database, this.#counters, () => this.#nextId++);
    try {
      const result = await this.#current.run(tx, () => work(tx));
      tx.finish();
      await this.#commit(database, tx);
      return result;
    } catch (error) {
      throw isLevelError(error) ? fromLevel(error, this.#folder) : error;
    } finally {
      tx.finish();
    }
  }

  async #commit(database: Database, tx: Transaction): Promise<void> {
    const { counters, operations } = tx.operations(this.#nextId);
    if (operations.length === 0) return;
    try {
      await database.level.batch(operations, { sync: true });
    } catch (error) {
      if (!(await this.#tookEffect(database, counters.commits))) throw error;
    }
    this.#counters = counters;
  }

  /**
   * After a failed write LevelDB refuses every further one until it is opened again, and the failed batch may be on the
   * disk or not (a sync that failed after the append). Opens it again and looks.
   */
  async #tookEffect(database: Database, commits: number): Promise<boolean> {
    this.#log.error({ path: this.#folder }, 'a metadata write failed; opening the database again');
    this.#database = database.level.close().then(() => this.#openAgain());
    const { meta } = await this.#database;
    return parseCounters(await meta.get(countersKey))?.commits === commits;
  }

  async #openAgain(): Promise<Database> {
    const { database } = await openDatabase(this.#folder);
    return database;
  }

  /** The open database; opens it again when the last try, on a full disk, failed. */
  async #usable(): Promise<Database> {
    const failing = this.#database;
    try {
      return await failing;
    } catch {
      if (this.#database === failing) this.#database = this.#openAgain();
      return this.#database;
    }
  }

  async #read<T>(work: (database: Database) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#usable());
    } catch (error) {
      throw fromLevel(error, this.#folder);
    }
  }
}

async function initialize({ level, meta }: Database): Promise<Counters> {
  await level.batch(
    [
      { type: 'put', sublevel: meta, key: formatKey, value: String(formatVersion) },
      { type: 'put', sublevel: meta, key: countersKey, value: JSON.stringify(emptyCounters) },
    ],
    { sync: true },
  );
  return emptyCounters;
}

function isLevelError(error: unknown): boolean {
  return error instanceof Error && String((error as NodeJS.ErrnoException).code).startsWith('LEVEL_');
}

function checkLink(
  record: SnapshotRecord | undefined,
  key: string,
  child: SnapshotRecord | undefined,
  seen: Set<string>,
): SnapshotRecord {
  const circle = seen.has(key);
  seen.add(key);
  if (record?.kind === 'committed' && !circle) return record;
  if (!child) {
    const [code, what] = record ? (['invalid-argument', `is ${record.kind}, not committed`] as const) : missing;
    throw new SnapshotterError(code, `the snapshot ${abridged(key)} ${what}`, {
      facts: { key },
      next: 'name a committed snapshot',
    });
  }
  const what = circle ? 'is its own ancestor' : record ? `is ${record.kind}, not committed` : 'is missing';
  throw new SnapshotterError('data-loss', `the parent ${abridged(key)} of ${abridged(child.key)} ${what}`, {
    facts: { key: child.key, parent: key },
    next: 'remove the snapshots above it and pull the image again',
  });
}

const missing = ['not-found', 'does not exist'] as const;
