import { toBase32 } from '../digest.js';
import type { EnvItem } from './items.js';

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
