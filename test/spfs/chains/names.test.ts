import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { chainNames } from '../../../src/spfs/chains/index.js';
import { linksOf } from '../../../src/spfs/chains/names.js';
import type { Digest, OldestFirst } from '../../../src/vocabulary.js';

const layer = (text: string): Digest => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const stack = (...layers: Digest[]) => layers as unknown as OldestFirst<Digest>;

describe('the names of a chain', () => {
  it('follow the OCI rule, the lowest first', () => {
    const [a, b] = [layer('a'), layer('b')];
    const ab = layer(`${a} ${b}`);
    expect(chainNames(stack(a, b, a))).toEqual([a, ab, layer(`${ab} ${a}`)]);
    expect(chainNames(stack())).toEqual([]);
  });

  it('stand on each other', () => {
    const [a, b] = [layer('a'), layer('b')];
    expect(linksOf(stack(a, b))).toEqual([
      { layer: a, name: a, parent: '', position: 1, of: 2 },
      { layer: b, name: layer(`${a} ${b}`), parent: a, position: 2, of: 2 },
    ]);
  });
});
