import { toBase32 } from '../../../src/spfs/digest.js';
import type { EnvItem } from '../../../src/spfs/grammar/index.js';
import type { TagSpec } from '../../../src/spfs/grammar/tag.js';

/** An env spec that means these items: what run specs were flattened into is written out. */
export function printEnvSpec(items: readonly EnvItem[]): string {
  return items.length === 0 ? '-' : items.map(printItem).join('+');
}

function printItem(item: EnvItem): string {
  switch (item.kind) {
    case 'digest':
      return toBase32(item.digest);
    case 'reference':
      return item.text;
    case 'live-layer':
      return item.layer.file;
  }
}

/** `org/name`, and `~N` unless it is the newest. */
export function printTagSpec({ name, version }: TagSpec): string {
  return version === 0 ? name : `${name}~${version}`;
}
