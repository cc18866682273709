import { AsyncLocalStorage } from 'node:async_hooks';
import { CodedError } from '../errors.js';
import { Slots } from '../jobs.js';
import type { Logger } from '../log.js';
import { snapshotRefLabel, type NewestFirst } from '../vocabulary.js';
import { readChain, type ChainLink } from './chain.js';
import { Connection } from './connection.js';
import { wasClosed } from '../leveldb/index.js';
import { childKey, childRange, countersKey, formatKey, fromLevel, idKey } from './database.js';
import { abridged } from './keys.js';
import { rebuildDatabase, type RebuildReport } from './rebuild.js';
import type { SnapshotRecord } from './record.js';
import { parseRecord } from './stored-record.js';
import { recogniseDatabase, type Recognised } from '../leveldb/index.js';
import { RefIndex } from './ref-index.js';
import { byBytes, Transaction } from './transaction.js';

/** A writer that keeps the others waiting for longer than this is logged. */
const slowHoldMs = 1000;

/**
 * The records of all snapshots, in LevelDB. Reads are free; every write goes through {@link exclusive}, one at a time,
 * and is on the disk when that resolves.
 */
export class MetadataStore {
  /** True when `open` found no database and made an empty one: not the same as a root without snapshots. */
  readonly created: boolean;
  readonly #connection: Connection;
  readonly #refs: RefIndex;
  readonly #log: Logger;
  readonly #writer = new Slots(1);
  readonly #current = new AsyncLocalStorage<Transaction>();
  #nextId: number;
  #closing: Promise<void> | undefined;

  private constructor(connection: Connection, log: Logger, created: boolean, refs: RefIndex) {
    this.#connection = connection;
    this.#refs = refs;
    this.#log = log;
    this.#nextId = connection.counters.nextId;
    this.created = created;
  }

  /**
   * Opens the database in `folder`, or creates it, and checks every record and index.
   *
   * @throws CodedError `data-loss` when it is damaged (then {@link rebuild}); `failed-precondition` when another
   *   process holds it or a newer release wrote it (then do not rebuild)
   */
  static async open(folder: string, log: Logger): Promise<MetadataStore> {
    const refs = new RefIndex();
    const { connection, created } = await Connection.open(folder, log, (record) => refs.set(record.key, record));
    return new MetadataStore(connection, log, created, refs);
  }

  /**
   * Makes a new database in `folder`, which must be absent or empty, from the records of the snapshot.json files.
   * Interrupted, it leaves a database that `open` refuses as `data-loss`.
   */
  static rebuild(
    folder: string,
    records: AsyncIterable<SnapshotRecord> | Iterable<SnapshotRecord>,
    log: Logger,
  ): Promise<RebuildReport> {
    return rebuildDatabase(folder, records, log);
  }

  /** Whether `folder` holds a database of this store, of whatever format version; nothing in it is changed. */
  static recognise(folder: string): Promise<Recognised> {
    return recogniseDatabase(folder, [formatKey, countersKey]);
  }

  async get(key: string): Promise<SnapshotRecord | undefined> {
    const text = await this.#connection.use(({ snapshots }) => snapshots.get(key));
    return text === undefined ? undefined : parseRecord(text, abridged(key));
  }

  /**
   * An id for work that begins before its record can be written. It is on the disk with the next transaction; one that a
   * crash loses may be given again, so the folder made under it must be swept first.
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
    const key = await this.#connection.use(({ ids }) => ids.get(idKey(id)));
    return key === undefined ? undefined : this.get(key);
  }

  /**
   * The committed snapshot `key` and its ancestors; empty for ''. One point in time.
   *
   * @throws CodedError `not-found` when `key` is absent, `invalid-argument` when it is not committed, `data-loss`
   *   when an ancestor is missing or not committed, or the chain is a circle
   */
  chain(key: string): Promise<NewestFirst<ChainLink>> {
    return this.#connection.use((database) => readChain(database, key));
  }

  /** The keys whose parent is `key`, in the order of their bytes. */
  async children(key: string): Promise<string[]> {
    const found = await this.#connection.use(({ children }) => children.keys(childRange(key)).all());
    return found.map((child) => child.slice(childKey(key, '').length));
  }

  /**
   * The records with this chain ID as label `containerd.io/snapshot.ref`, ordered by the bytes of their keys. What is written
   * while this reads may be in it or not.
   */
  async withRef(ref: string): Promise<readonly SnapshotRecord[]> {
    const keys = [...this.#refs.find(ref)].sort(byBytes);
    if (keys.length === 0) return [];
    const texts = await this.#connection.use(({ snapshots }) => snapshots.getMany(keys));
    const records = keys.flatMap((key, index) => {
      const text = texts[index];
      return text === undefined ? [] : [parseRecord(text, abridged(key))];
    });
    return records.filter(({ labels }) => labels[snapshotRefLabel] === ref);
  }

  /**
   * Every record, ordered by the bytes of its key, as of the moment the iteration starts (after a failed write: as of when the database
   * was opened again); memory stays bounded.
   */
  async *all(): AsyncIterable<SnapshotRecord> {
    let last: string | undefined;
    for (;;) {
      const range = last === undefined ? {} : { gt: last };
      const iterator = await this.#connection.use(({ snapshots }) => Promise.resolve(snapshots.iterator(range)));
      try {
        for (let entry = await iterator.next(); entry; entry = await iterator.next()) {
          last = entry[0];
          yield parseRecord(entry[1], abridged(last));
        }
        return;
      } catch (error) {
        // The database may have been opened again meanwhile, and goes on where it was; when the store is closed this ends.
        if (this.#closing || !wasClosed(error)) throw fromLevel(error, this.#connection.folder);
      } finally {
        await iterator.close();
      }
    }
  }

  count(): Promise<number> {
    return Promise.resolve(this.#connection.counters.snapshots);
  }

  /**
   * THE one writer: calls run one after the other, in the order they came. What `work` wrote is committed as one synced
   * batch after it returns; nothing is written when it throws. Keep slow work outside.
   *
   * @param reason what the log calls it when it keeps others waiting
   * @throws what `work` throws; `resource-exhausted` when the disk is full; `unavailable` after {@link close}; `internal`
   *   when called from inside `work`, which would wait for itself
   */
  async exclusive<T>(reason: string, work: (tx: Transaction) => Promise<T>): Promise<T> {
    if (this.#closing) {
      throw new CodedError('unavailable', `the metadata is closing, ${reason} came too late`, {
        next: 'try again',
      });
    }
    if (this.#current.getStore()?.isOpen) {
      throw new CodedError('internal', `metadata: ${reason} asked for a transaction inside a transaction`);
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
    this.#closing ??= this.#writer.run(() => this.#connection.close());
    return this.#closing;
  }

  async #transact<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const refusal = await this.#connection.mend();
    return this.#connection.use(async (database) => {
      // Ids are handed out from memory: one that a failed transaction took is never given to another.
      const tx = new Transaction(database, this.#connection.counters, this, refusal);
      try {
        const result = await this.#current.run(tx, () => work(tx));
        tx.finish();
        const { counters, operations } = tx.operations(this.#nextId);
        if (operations.length > 0 && !refusal) await this.#connection.commit(operations, counters);
        for (const [key, record] of tx.written) this.#refs.set(key, record);
        await tx.settle('committed');
        return result;
      } catch (error) {
        await tx.settle('failed');
        throw error;
      } finally {
        tx.finish();
      }
    });
  }
}
