import { expect, it } from 'vitest';
import { imageOf } from '../../../src/spfs/browse/image.js';
import type { Mount } from '../../../src/vocabulary.js';

const mount = (type: string, source: string, ...options: string[]): Mount => ({ type, source, target: '', options });

it('an empty stack has no image', () => {
  expect(imageOf([])).toBeUndefined();
});

it('a stack of one layer is that layer', () => {
  expect(imageOf([mount('erofs', '/1/layer.erofs', 'ro', 'loop')])).toEqual({ path: '/1/layer.erofs', devices: [] });
});

it('a merged stack is its merged image with the layers, oldest first', () => {
  const merged = mount('format/erofs', '/2/fsmeta.erofs', 'ro', 'loop', 'device=/1/a.erofs', 'device=/2/b.erofs');
  expect(imageOf([merged])).toEqual({ path: '/2/fsmeta.erofs', devices: ['/1/a.erofs', '/2/b.erofs'] });
});

it.each([
  ['layers that are not merged', [mount('erofs', '/2/b.erofs'), mount('erofs', '/1/a.erofs')]],
  ['a folder', [mount('bind', '/1/fs', 'ro')]],
])('%s are refused', (_, mounts) => {
  expect(() => imageOf(mounts)).toThrow(expect.objectContaining({ code: 'failed-precondition' }));
});
