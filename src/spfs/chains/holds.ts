import { randomBytes } from 'node:crypto';
import type { Leases } from '../../containerd/index.js';
import { isCode } from '../../errors.js';
import type { Logger } from '../../log.js';
import { spfsNamespace } from './names.js';
import { isGone, labelsOfThisProcess, pidLabel } from './owner.js';

/** What keeps the garbage collector away for the time of one process's work. */
export interface Hold {
  /** The lease's id. */
  readonly lease: string;
  /**
   * Gives up the lease. Safe to call twice; never throws, logs: a lease that stays goes with the next sweep.
   *
   * @param collect wait until the garbage collector has taken what nothing else keeps
   */
  release(collect: boolean): Promise<void>;
}

const hourMs = 60 * 60 * 1000;

/**
 * How long a lease lasts that is not deleted, in milliseconds. The next command sweeps those of processes that are gone, so
 * this matters only where there is no next command, and bounds how long a run is protected.
 */
const lifeMs = { run: 365 * 24 * hourMs, work: 24 * hourMs };

/** The leases of running processes. */
export class Holds {
  readonly #leases: Leases;
  readonly #log: Logger;

  constructor(leases: Leases, log: Logger) {
    this.#leases = leases;
    this.#log = log;
  }

  /** @throws what containerd answers */
  async take(purpose: keyof typeof lifeMs, signal: AbortSignal): Promise<Hold> {
    const id = `spfs-${purpose}-${randomBytes(12).toString('hex')}`;
    const labels = await labelsOfThisProcess();
    let held = true;
    const release = async (collect: boolean) => {
      if (!held) return;
      held = false;
      await this.#delete(id, collect).catch((error: unknown) => {
        this.#log.warn({ err: error, lease: id }, 'could not delete a lease; a later command will');
      });
    };
    try {
      const given = { namespace: spfsNamespace, id, labels, lifeMs: lifeMs[purpose], signal };
      await this.#leases.createNamed(given);
    } catch (error) {
      // containerd may have made it though the answer was not awaited.
      if (signal.aborted) await release(false);
      throw error;
    }
    return { lease: id, release };
  }

  /** Deletes the leases of processes that are gone, then waits for one garbage collection. @returns how many there were. @throws what containerd answers */
  async sweep(signal: AbortSignal): Promise<number> {
    const swept: string[] = [];
    for (const { id, labels } of await this.#leases.list(
      spfsNamespace,
      [`labels.${JSON.stringify(pidLabel)}`],
      signal,
    )) {
      if (await isGone(labels)) swept.push(id);
    }
    for (const [index, id] of swept.entries()) await this.#delete(id, index === swept.length - 1, signal);
    if (swept.length > 0) this.#log.info({ leases: swept }, 'swept what ended processes had left');
    return swept.length;
  }

  /** Deletes any lease of namespace `spfs`, and waits for nothing. @throws what containerd answers */
  delete(lease: string, signal: AbortSignal): Promise<void> {
    return this.#delete(lease, false, signal);
  }

  async #delete(id: string, collect: boolean, signal?: AbortSignal): Promise<void> {
    try {
      await this.#leases.delete(spfsNamespace, id, collect, signal);
    } catch (error) {
      // The lease is gone by then; a collection that takes long goes on without us.
      if (!collect || !isCode(error, 'deadline-exceeded')) throw error;
      this.#log.warn({ err: error, lease: id }, 'did not wait for the garbage collection');
    }
  }
}
