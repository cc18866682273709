import { chainIdOf } from '../chain-id.js';
import type { ChainLink, MetadataStore, SnapshotRecord } from '../metadata/index.js';
import type { Digest } from '../vocabulary.js';

/**
 * The chain IDs of committed snapshots, by what this daemon itself measured when it applied their layers; no label is believed.
 * Remembered by id, since neither the layer nor the parent of a committed snapshot ever changes.
 */
export class ChainIds {
  readonly #store: Pick<MetadataStore, 'get'>;
  readonly #known = new Map<number, Digest | undefined>();

  constructor(store: Pick<MetadataStore, 'get'>) {
    this.#store = store;
  }

  /** @returns undefined when a layer of the chain was not made by Apply, so that its diff ID is unknown */
  async measure(record: SnapshotRecord): Promise<Digest | undefined> {
    const above = new Map<number, ChainLink>();
    let next = record;
    while (!this.#known.has(next.id)) {
      // A chain that is a circle, or misses a link, cannot be: its snapshots are quarantined.
      if (next.kind !== 'committed' || above.has(next.id)) return undefined;
      above.set(next.id, next);
      if (next.parent === '') break;
      const parent = await this.#store.get(next.parent);
      if (!parent) return undefined;
      next = parent;
    }
    let below = this.#known.get(next.id);
    for (const { id, parent, layer } of [...above.values()].reverse()) {
      const diffId = layer?.applied?.diffId;
      const measurable = diffId !== undefined && (parent === '' || below !== undefined);
      below = measurable ? chainIdOf(parent === '' ? undefined : below, diffId) : undefined;
      this.#known.set(id, below);
    }
    return this.#known.get(record.id);
  }

  forget(id: number): void {
    this.#known.delete(id);
  }
}
