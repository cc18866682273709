import { chainIdOf } from '../../chain-id.js';
import { mapOldestFirst, type Digest, type OldestFirst } from '../../vocabulary.js';

/** Where containerd keeps what spfs uses. */
export const spfsNamespace = 'spfs';

/** The name of each link of a chain: its chain ID. So a stack and an image of the same layers are the same snapshots. */
export function chainNames(layers: OldestFirst<Digest>): OldestFirst<Digest> {
  let below: Digest | undefined;
  return mapOldestFirst(layers, (layer) => (below = chainIdOf(below, layer)));
}

/** One layer of a stack and the snapshot that it becomes. */
export interface Link {
  readonly layer: Digest;
  readonly name: Digest;
  /** Name of the link below, or empty. */
  readonly parent: Digest | '';
  /** From 1, the lowest. */
  readonly position: number;
  /** Layers of the whole stack. */
  readonly of: number;
}

export function linksOf(layers: OldestFirst<Digest>): readonly Link[] {
  const names = chainNames(layers);
  return names.flatMap((name, index) => {
    const layer = layers[index];
    if (layer === undefined) return [];
    return [{ layer, name, parent: names[index - 1] ?? '', position: index + 1, of: layers.length }];
  });
}
