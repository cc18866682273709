import type { Logger } from '../log.js';
import {
  countersKey,
  formatKey,
  formatVersion,
  fromLevel,
  openDatabase,
  parseCounters,
  type Counters,
  type Database,
  type Operation,
} from './database.js';
import type { SnapshotRecord } from './record.js';
import { verifyDatabase } from './verify.js';

const emptyCounters: Counters = { nextId: 1, snapshots: 0, commits: 0 };

/**
 * The open LevelDB of a store, kept usable: after a failed write LevelDB refuses every further one until it is opened
 * again, so a full disk would otherwise outlast the space that was freed.
 */
export class Connection {
  readonly folder: string;
  readonly #log: Logger;
  #database: Promise<Database>;
  #counters: Counters;

  private constructor(folder: string, log: Logger, database: Database, counters: Counters) {
    this.folder = folder;
    this.#log = log;
    this.#database = Promise.resolve(database);
    this.#counters = counters;
  }

  /**
   * @param seen is shown every record that is there
   * @throws SnapshotterError as `MetadataStore.open`
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

  /** Runs `work` on the open database. LevelDB's errors come out as SnapshotterErrors. */
  async use<T>(work: (database: Database) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#usable());
    } catch (error) {
      throw isLevelError(error) ? fromLevel(error, this.folder) : error;
    }
  }

  /** Writes one synced batch. When this throws, nothing of it is there, or the disk failed so badly that none can tell. */
  async commit(operations: Operation[], counters: Counters): Promise<void> {
    const { level } = await this.#usable();
    try {
      await level.batch(operations, { sync: true });
      this.#counters = counters;
    } catch (error) {
      this.#log.error({ path: this.folder, err: error }, 'a metadata write failed; opening the database again');
      this.#database = level.close().then(() => this.#openAgain());
      await this.#database.catch((again: unknown) => {
        this.#log.error(
          { path: this.folder, err: again },
          'could not open the metadata again; the next use tries anew',
        );
      });
      // A sync that failed after the append leaves the batch in place: then it did take effect.
      if (this.#counters.commits !== counters.commits) throw fromLevel(error, this.folder);
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
      if (this.#database === failing) this.#database = this.#openAgain();
      return this.#database;
    }
  }

  async #openAgain(): Promise<Database> {
    const { database } = await openDatabase(this.folder);
    this.#counters = parseCounters(await database.meta.get(countersKey)) ?? this.#counters;
    return database;
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
