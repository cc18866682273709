import { AsyncLocalStorage } from 'node:async_hooks';
import { CodedError } from '../../errors.js';
import type { Operation } from '../../leveldb/index.js';
import { Slots } from '../../jobs.js';
import type { Logger } from '../../log.js';
import { Change } from './change.js';
import { committed, fromStore, openDatabase, type Counters, type Database } from './database.js';
import { LevelView } from './level-view.js';
import { databasePath, lockPath, prepareRoot } from './root.js';
import { takeTurn } from './turn.js';
import type { StoreChange, StoreView } from './view.js';
import { withScope } from '../../scope.js';

const defaultWaitMs = 10_000;

/**
 * The objects and tags of the companion, in a LevelDB below the storage root. No process keeps it open: each call waits for
 * its turn, opens, works and closes, so that any number of commands can run at once.
 */
export class SpfsStore {
  readonly #root: string;
  readonly #log: Logger;
  readonly #waitMs: number;
  /** An flock is no order among the calls of one process: these wait here. */
  readonly #turns = new Slots(1);
  #id: string | undefined;
  readonly #current = new AsyncLocalStorage<{ isOpen: boolean }>();

  /** @param o.waitMs how long a call waits for another process */
  constructor(o: { readonly root: string; readonly log: Logger; readonly waitMs?: number }) {
    this.#root = o.root;
    this.#log = o.log;
    this.#waitMs = o.waitMs ?? defaultWaitMs;
  }

  /**
   * What tells this store from others, wherever it lies: made with it. Known from the first turn on.
   *
   * @throws CodedError `internal` before
   */
  get id(): string {
    if (this.#id === undefined) throw new CodedError('internal', 'store: it was not opened, so its id is not known');
    return this.#id;
  }

  /**
   * Looks at the store as it is at one moment. Others wait meanwhile: keep slow work outside.
   *
   * @throws what `work` throws; `failed-precondition` when the storage root cannot be used or a newer release wrote the store;
   *   `unavailable` when another process did not end its turn in time; `data-loss` when the store is damaged;
   *   `resource-exhausted` when the disk is full; `internal` when called from inside the work of another call
   */
  read<T>(work: (view: StoreView) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#inTurn('reading', signal, ({ database }) => work(new LevelView(database)));
  }

  /**
   * Holds the store for this process alone while `work` runs, however long. What it changed is written as one synced batch
   * after it returns; nothing is written when it throws.
   *
   * @param reason what the log calls it
   * @throws as {@link read}
   */
  exclusive<T>(reason: string, work: (change: StoreChange) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#inTurn(reason, signal, async ({ database, counters }) => {
      const change = new Change(database, counters);
      try {
        const result = await work(change);
        const batch = await change.batch();
        if (batch) await this.#write(database, batch);
        return result;
      } finally {
        change.finish();
      }
    });
  }

  async #inTurn<T>(
    reason: string,
    signal: AbortSignal | undefined,
    work: (open: { database: Database; counters: Counters }) => Promise<T>,
  ): Promise<T> {
    if (this.#current.getStore()?.isOpen) {
      throw new CodedError('internal', `store: ${reason} would wait for the call that it is part of`);
    }
    return this.#turns.run(
      () =>
        withScope(this.#log, async (scope) => {
          await prepareRoot(this.#root);
          const lock = await takeTurn(lockPath(this.#root), { waitMs: this.#waitMs, signal });
          scope.defer('the lock of the store', () => lock.release());
          const open = await openDatabase(databasePath(this.#root));
          scope.defer('the store', () => open.database.level.close());
          this.#id = open.id;
          const turn = { isOpen: true };
          scope.defer('the turn', () => void (turn.isOpen = false));
          return this.#current.run(turn, () => work(open));
        }),
      signal,
    );
  }

  async #write(
    { level, folder }: Database,
    { operations, counters }: { operations: Operation[]; counters: Counters },
  ): Promise<void> {
    try {
      await level.batch(operations, { sync: true });
    } catch (error) {
      this.#log.error({ path: folder, err: error }, 'a write failed; opening the store again to see what became of it');
      await level.close();
      if (!(await committed(folder, counters.commits).catch(() => false))) throw fromStore(error, folder);
    }
  }
}
