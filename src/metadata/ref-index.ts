import { snapshotRefLabel } from '../vocabulary.js';
import type { SnapshotRecord } from './record.js';

/**
 * The keys of the snapshots that carry a chain ID as label `containerd.io/snapshot.ref`, by that chain ID: containerd asks for
 * them once a layer. Kept in memory only: it follows from the records.
 */
export class RefIndex {
  readonly #keys = new Map<string, Set<string>>();
  readonly #refs = new Map<string, string>();

  /** @param record what is at `key` now; undefined for nothing */
  set(key: string, record: SnapshotRecord | undefined): void {
    const before = this.#refs.get(key);
    const ref = record?.labels[snapshotRefLabel];
    if (before === ref) return;
    if (before !== undefined) this.#forget(before, key);
    if (ref === undefined) return;
    this.#refs.set(key, ref);
    const keys = this.#keys.get(ref);
    if (keys) keys.add(key);
    else this.#keys.set(ref, new Set([key]));
  }

  /** In no order. */
  find(ref: string): readonly string[] {
    return [...(this.#keys.get(ref) ?? [])];
  }

  #forget(ref: string, key: string): void {
    this.#refs.delete(key);
    const keys = this.#keys.get(ref);
    keys?.delete(key);
    if (keys?.size === 0) this.#keys.delete(ref);
  }
}
