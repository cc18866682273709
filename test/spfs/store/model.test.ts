import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isCode } from '../../../src/errors.js';
import type { StoredObject } from '../../../src/spfs/model.js';
import { platformDigest, type StoreChange } from '../../../src/spfs/store/index.js';
import { digestOf, entry, freshStore, layer, platform, stack } from './support.js';

const layers = ['a', 'b', 'c'].map(layer);
const objects: StoredObject[] = [...layers, platform(layers[0]!, layers[1]!), platform(layers[1]!), platform()];
const names = ['t', 't-2', 'org/t'];

type Step = { do: 'tag'; name: string; object: number } | { do: 'untag'; name: string };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('tag' as const), name: fc.constantFrom(...names), object: fc.nat(objects.length - 1) }),
  fc.record({ do: fc.constant('untag' as const), name: fc.constantFrom(...names) }),
);

/** What the store is to do, said as simply as possible: tags are lists, and objects are what they reach. */
class Model {
  readonly tags = new Map<string, StoredObject[]>();
  readonly stored = new Set<StoredObject>();

  /** `put`: what the same change has put, which stays. */
  apply(one: Step, put: Set<StoredObject>): void {
    if (one.do === 'tag') {
      const object = objects[one.object]!;
      for (const each of [object, ...this.#layersOf(object)]) put.add(each);
      for (const each of put) this.stored.add(each);
      const history = this.tags.get(one.name) ?? [];
      if (history[0] !== object) this.tags.set(one.name, [object, ...history]);
    } else if (this.tags.delete(one.name)) {
      const named = [...this.tags.values()].flat();
      const reached = new Set([...named, ...named.flatMap((object) => this.#layersOf(object))]);
      for (const object of this.stored) if (!reached.has(object) && !put.has(object)) this.stored.delete(object);
    }
  }

  #layersOf(object: StoredObject): StoredObject[] {
    return object.kind === 'layer' ? [] : layers.filter(({ digest }) => object.layers.includes(digest));
  }
}

async function perform(change: StoreChange, one: Step): Promise<void> {
  if (one.do === 'untag') {
    await change.removeTag(one.name).catch((error: unknown) => {
      if (!isCode(error, 'not-found')) throw error;
    });
    return;
  }
  const object = objects[one.object]!;
  for (const each of layers) {
    if (object === each || (object.kind === 'platform' && object.layers.includes(each.digest))) change.putObject(each);
  }
  change.putObject(object);
  await change.pushTag(one.name, entry(object));
}

test('whatever is tagged and untagged, in however many changes, the store holds what a plain list would', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(step, { maxLength: 5 }), { maxLength: 5 }), async (changes) => {
      const store = await freshStore();
      const model = new Model();
      for (const steps of changes) {
        const put = new Set<StoredObject>();
        await store.exclusive('steps', async (change) => {
          for (const one of steps) {
            await perform(change, one);
            model.apply(one, put);
            expect(new Set(await change.objects())).toEqual(model.stored);
          }
        });
        await store.read(async (view) => {
          expect(new Set(await view.objects())).toEqual(model.stored);
          const streams = (await view.tags()).map(({ name, history }) => [name, history] as const);
          const wanted = [...model.tags].map(
            ([name, history]) => [name, history.map((object) => entry(object))] as const,
          );
          expect(new Map(streams)).toEqual(new Map(wanted));
        });
      }
    }),
    { numRuns: 40 },
  );
});

test('the digest of a platform is the documented one', () => {
  // printf 'spfs-platform v1\n' | sha256sum, and the same with the line of one layer, whose digest is that of an empty text
  expect(platformDigest(stack())).toBe(`sha256:f1ca440e418d2c65e300650c1c84af86ab3b2bf63ab4f66eed3cb70a32ade784`);
  expect(platformDigest(stack(layer('')))).toBe(
    `sha256:ee7fe6be6c49a0844af8d71c564f256c063a04a2a23ef66b82e3b57bc15dbac8`,
  );
});

test('two stacks have the same digest only when they are the same layers in the same order', () => {
  const some = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 6 });
  const digest = (texts: readonly string[]) => platformDigest(stack(...texts.map(layer)));
  fc.assert(
    fc.property(some, some, (left, right) => {
      expect(digest(left) === digest(right)).toBe(left.join() === right.join());
      expect(digest(left)).toBe(digest([...left]));
      expect(digest(left)).not.toBe(digestOf(left.join()));
    }),
  );
});
