import { expect, test } from 'vitest';
import { parseEnvSpec } from '../../src/spfs/grammar/index.js';
import { resolveLayers } from '../../src/spfs/resolve.js';
import { memoryFiles } from './grammar/memory-files.js';
import { freshStore, layer, platform, put, stack, tag } from './store/support.js';

const [a, b, c] = [layer('a'), layer('b'), layer('c')];

/** What spfs 0.44 makes of the same objects, lowest first. */
test.each([
  ['of one item that is named twice the last counts', 'a+b+a', [b, a]],
  ['also when it is named by two tags and a digest', `a+b+also-a+${a.digest}`, [b, a]],
  ['also when a run spec names it', 'a+/run.spfs.yaml+c', [b, a, c]],
  ['also when it is a platform', 'ab+c+ab', [c, a, b]],
  ['of a layer that is twice in one platform the lowest stays', 'aba', [a, b]],
  ['of a layer that two platforms have the lowest stays', 'ab+ca', [a, b, c]],
  ['of a layer that is an item and in a platform the lowest stays', 'ab+a', [a, b]],
  ['and when the platform comes later, too', 'b+ab', [b, a]],
])('%s: %s', async (_, spec, expected) => {
  const store = await freshStore();
  await put(store, a, b, c);
  await tag(store, ['a', a], ['also-a', a], ['b', b], ['c', c]);
  await tag(store, ['ab', platform(a, b)], ['ca', platform(c, a)], ['aba', platform(a, b, a)]);
  const files = memoryFiles({ '/run.spfs.yaml': 'api: spfs/v0/runspec\nlayers: [b, a]\n' });
  const items = await parseEnvSpec(spec, files);
  expect(await store.read((view) => resolveLayers(view, items))).toEqual(stack(...expected));
});
