import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Slots } from '../src/jobs.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Work under names, each of which runs until it is told to end. */
function tasks(slots: Slots) {
  const running = new Map<string, () => void>();
  return {
    start: (name: string) =>
      void slots.run(() => new Promise<void>((resolve) => running.set(name, resolve))).then(() => running.delete(name)),
    end: (name: string) => running.get(name)?.(),
    running: async () => {
      await vi.advanceTimersByTimeAsync(0);
      return [...running.keys()];
    },
  };
}

it('work that takes long leaves its turn to others and goes on beside them, so many at once', async () => {
  const { start, end, running } = tasks(new Slots(1, { afterMs: 1000, atMost: 2 }));
  for (const name of ['a', 'b', 'c', 'd']) start(name);
  expect(await running()).toEqual(['a']);
  await vi.advanceTimersByTimeAsync(999);
  expect(await running()).toEqual(['a']);
  await vi.advanceTimersByTimeAsync(1);
  expect(await running()).toEqual(['a', 'b']);
  await vi.advanceTimersByTimeAsync(1000);
  expect(await running()).toEqual(['a', 'b', 'c']);
  await vi.advanceTimersByTimeAsync(5000);
  expect(await running()).toEqual(['a', 'b', 'c']);
  // What had taken long as well becomes late now, and its turn is another's.
  end('a');
  expect(await running()).toEqual(['b', 'c', 'd']);
  for (const name of ['b', 'c', 'd']) end(name);
  expect(await running()).toEqual([]);
  start('e');
  start('f');
  expect(await running()).toEqual(['e']);
  end('e');
  expect(await running()).toEqual(['f']);
});

it('without overtime, work keeps its turn however long it takes', async () => {
  const { start, end, running } = tasks(new Slots(1));
  start('a');
  start('b');
  await vi.advanceTimersByTimeAsync(1e9);
  expect(await running()).toEqual(['a']);
  end('a');
  expect(await running()).toEqual(['b']);
});
