import type { Digest } from '../vocabulary.js';
import type { LayerRecord } from './folder.js';
import { isConvertedAsNow } from './rules.js';

/** A layer that a snapshot holds, wherever it came from, and may share. */
export interface HeldLayer {
  readonly id: number;
  readonly layer: LayerRecord;
  /** The containerd namespace that it was made for, when known. */
  readonly namespace: string | undefined;
}

/**
 * Which snapshots hold a layer, by the digest of its blob and by its diff ID. Layers that were converted by older rules are not
 * among them. Kept in memory only: it follows from the records.
 */
export class HeldLayers {
  readonly #byId = new Map<number, HeldLayer>();
  readonly #byDigest = new Map<Digest, Set<number>>();

  add(held: HeldLayer): void {
    this.remove(held.id);
    if (!isConvertedAsNow(held.layer)) return;
    this.#byId.set(held.id, held);
    for (const digest of digestsOf(held.layer)) {
      const ids = this.#byDigest.get(digest);
      if (ids) ids.add(held.id);
      else this.#byDigest.set(digest, new Set([held.id]));
    }
  }

  remove(id: number): void {
    const held = this.#byId.get(id);
    if (!held) return;
    this.#byId.delete(id);
    for (const digest of digestsOf(held.layer)) {
      const ids = this.#byDigest.get(digest);
      ids?.delete(id);
      if (ids?.size === 0) this.#byDigest.delete(digest);
    }
  }

  /** Those that hold the layer with this digest of its blob or of its tar. */
  find(digest: Digest): readonly HeldLayer[] {
    const ids = [...(this.#byDigest.get(digest) ?? [])];
    return ids.map((id) => this.#byId.get(id)).filter((held) => held !== undefined);
  }

  /** Of all layers that are held, each once. */
  diffIds(): readonly Digest[] {
    const all = [...this.#byId.values()].map(({ layer }) => layer.applied?.diffId);
    return [...new Set(all)].filter((diffId) => diffId !== undefined);
  }
}

function digestsOf({ applied }: LayerRecord): readonly Digest[] {
  return applied ? [...new Set([applied.digest, applied.diffId])] : [];
}
