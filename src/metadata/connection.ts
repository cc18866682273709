import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CodedError } from '../errors.js';
import { asCodedError, probeWriting } from '../host/index.js';
import type { Logger } from '../log.js';
import { type Operation, logFiles, wasClosed, isLevelError } from '../leveldb/index.js';
import {
  countersKey,
  formatKey,
  formatVersion,
  fromLevel,
  fromWrite,
  openDatabase,
  countersOf,
  type Counters,
  type Database,
} from './database.js';
import type { SnapshotRecord } from './record.js';
import { verifyDatabase } from './verify.js';

const emptyCounters: Counters = { nextId: 1, snapshots: 0, commits: 0 };

/** Bytes that opening LevelDB again takes besides what its log holds, which becomes a table: a manifest, a new log. */
const openingBytes = 256 * 1024;
/** Files that it makes then: a table, a manifest, a log, and the one that becomes CURRENT. */
const openingFiles = 4;

/** A batch that was answered as failed. */
interface FailedBatch {
  /** What it would have written as counters, by which it is known again. */
  readonly counters: Counters;
  /** What takes it back; undefined when the values before could not be read. */
  readonly undo: readonly Operation[] | undefined;
}

/**
 * The open LevelDB of a store, kept usable. After a failed write LevelDB refuses every further one until it is opened again, which a full
 * disk refuses too: until then the handle that is open goes on answering reads, as of before that write.
 */
export class Connection {
  readonly folder: string;
  readonly #log: Logger;
  #database: Promise<Database>;
  #counters: Counters;
  #failed: FailedBatch | undefined;

  private constructor(folder: string, log: Logger, database: Database, counters: Counters) {
    this.folder = folder;
    this.#log = log;
    this.#database = Promise.resolve(database);
    this.#counters = counters;
  }

  /**
   * @param seen is shown every record that is there
   * @throws CodedError as `MetadataStore.open`
   */
  static async open(
    folder: string,
    log: Logger,
    seen: (record: SnapshotRecord) => void,
  ): Promise<{ connection: Connection; created: boolean }> {
    const { database, created } = await openDatabase(folder);
    try {
      const counters = created ? await initialize(database) : await verifyDatabase(database, folder, seen);
      return { connection: new Connection(folder, log, database, counters), created };
    } catch (error) {
      await database.level.close();
      throw fromLevel(error, folder);
    }
  }

  /** As of the last commit. */
  get counters(): Counters {
    return this.#counters;
  }

  /** Runs `work` on the open database. LevelDB's errors come out as `CodedError`s. */
  async use<T>(work: (database: Database) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      const current = this.#database;
      try {
        return await work(await this.#usable());
      } catch (error) {
        // A writer opened it again under a reader.
        if (attempt === 0 && wasClosed(error) && this.#database !== current) continue;
        throw isLevelError(error) ? fromLevel(error, this.folder) : error;
      }
    }
  }

  /**
   * To be called by the one writer before it begins. After a failed write it opens the database again, if the disk lets it.
   *
   * @returns why nothing can be written now
   */
  async mend(): Promise<CodedError | undefined> {
    if (!this.#failed) return undefined;
    try {
      await this.#reopen('undo');
      this.#log.info({ path: this.folder }, 'the metadata can be written again');
      return undefined;
    } catch (error) {
      return fromWrite(error, this.folder);
    }
  }

  /** Writes one synced batch. When this throws, nothing of it is there, or will be once the database was opened again. */
  async commit(operations: readonly Operation[], counters: Counters): Promise<void> {
    const database = await this.#usable();
    try {
      await database.level.batch([...operations], { sync: true });
      this.#counters = counters;
    } catch (error) {
      this.#log.error({ path: this.folder, err: error }, 'a metadata write failed; opening the database again');
      this.#failed = { counters, undo: await undoOf(database, operations).catch(() => undefined) };
      // A sync that failed after the append leaves the batch in place: found there now, it did take effect.
      const isThere = await this.#reopen('keep').catch((again: unknown) => {
        this.#log.error({ path: this.folder, err: again }, 'the metadata cannot be written; reading goes on');
        return false;
      });
      if (!isThere) throw fromWrite(error, this.folder);
    }
  }

  async close(): Promise<void> {
    const database = await this.#database.catch(() => undefined);
    await database?.level.close();
  }

  async #usable(): Promise<Database> {
    const failing = this.#database;
    try {
      return await failing;
    } catch {
      if (this.#database === failing) this.#database = this.#openAgain('undo').then(({ database }) => database);
      return this.#database;
    }
  }

  /** @returns whether the batch that failed had taken effect and was kept */
  async #reopen(effect: 'keep' | 'undo'): Promise<boolean> {
    // The handle that reads is given up only for one that will do better.
    await this.#probe();
    const old = await this.#database.catch(() => undefined);
    const opened = (old?.level.close() ?? Promise.resolve()).then(() => this.#openAgain(effect));
    this.#database = opened.then(({ database }) => database);
    this.#database.catch(() => undefined); // heard through `opened`
    return (await opened).isKept;
  }

  async #openAgain(effect: 'keep' | 'undo'): Promise<{ database: Database; isKept: boolean }> {
    const { database } = await openDatabase(this.folder);
    try {
      return { database, isKept: await this.#resolve(database, effect) };
    } catch (error) {
      await database.level.close();
      throw error;
    }
  }

  async #resolve({ level, meta }: Database, effect: 'keep' | 'undo'): Promise<boolean> {
    const found = countersOf(await meta.get(countersKey)) ?? this.#counters;
    const failed = this.#failed;
    const isThere = failed !== undefined && found.commits === failed.counters.commits;
    if (!isThere || effect === 'keep' || !failed.undo) {
      this.#counters = found;
      this.#failed = undefined;
      return isThere;
    }
    const counters = { ...found, snapshots: this.#counters.snapshots, commits: found.commits + 1 };
    const operations = [...failed.undo, countersOperation(meta, counters)];
    await level.batch(operations, { sync: true });
    this.#counters = counters;
    this.#failed = undefined;
    return false;
  }

  /** @throws CodedError when LevelDB could not be opened: it needs space, and files of its own */
  async #probe(): Promise<void> {
    try {
      let bytes = openingBytes;
      for (const name of await logFiles(this.folder)) bytes += (await stat(join(this.folder, name))).size;
      await probeWriting(this.folder, { bytes, files: openingFiles });
    } catch (error) {
      throw asCodedError(error, `writing in ${this.folder}`, this.folder);
    }
  }
}

/** What brings back the values that a batch overwrites; the counters are written apart. */
async function undoOf({ meta }: Database, operations: readonly Operation[]): Promise<readonly Operation[]> {
  const undo: Operation[] = [];
  for (const { sublevel, key } of operations) {
    if (sublevel === meta) continue;
    const value = await sublevel.get(key);
    undo.push(value === undefined ? { type: 'del', sublevel, key } : { type: 'put', sublevel, key, value });
  }
  return undo;
}

async function initialize({ level, meta }: Database): Promise<Counters> {
  await level.batch(
    [
      { type: 'put', sublevel: meta, key: formatKey, value: String(formatVersion) },
      countersOperation(meta, emptyCounters),
    ],
    { sync: true },
  );
  return emptyCounters;
}

function countersOperation(meta: Database['meta'], counters: Counters) {
  return { type: 'put', sublevel: meta, key: countersKey, value: JSON.stringify(counters) } as const;
}
