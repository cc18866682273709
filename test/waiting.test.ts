import { describe, expect, it } from 'vitest';
import { orAborted, within } from '../src/waiting.js';
import { KeyLocks } from '../src/key-locks.js';

/** A promise that a test settles. */
function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

describe('work on one key', () => {
  it('runs one after the other, in the order it came, also after a failure', async () => {
    const locks = new KeyLocks();
    const gate = deferred<undefined>();
    const order: string[] = [];
    const first = locks.run('key', async () => {
      order.push('first begins');
      await gate.promise;
      order.push('first fails');
      throw new Error('first');
    });
    const second = locks.run('key', () => Promise.resolve(order.push('second')));
    const third = locks.run('key', () => Promise.resolve(order.push('third')));
    await Promise.resolve();
    gate.resolve(undefined);
    await expect(first).rejects.toThrow('first');
    await Promise.all([second, third]);
    expect(order).toEqual(['first begins', 'first fails', 'second', 'third']);
  });

  it('does not wait for work on another key', async () => {
    const locks = new KeyLocks();
    const gate = deferred<undefined>();
    const waiting = locks.run('a', () => gate.promise);
    expect(await locks.run('b', () => Promise.resolve('went on'))).toBe('went on');
    gate.resolve(undefined);
    await waiting;
  });
});

describe('waiting for work that others wait for too', () => {
  it('gives what the work gives, with a signal and without', async () => {
    expect(await orAborted(Promise.resolve(1), undefined)).toBe(1);
    expect(await orAborted(Promise.resolve(2), new AbortController().signal)).toBe(2);
    const failing = orAborted(Promise.reject(new Error('no')), new AbortController().signal);
    await expect(failing).rejects.toThrow('no');
  });

  it('ends with the signal’s reason while the work goes on for the others', async () => {
    const work = deferred<string>();
    const controller = new AbortController();
    const mine = orAborted(work.promise, controller.signal);
    const other = orAborted(work.promise, undefined);
    controller.abort(new Error('gone'));
    await expect(mine).rejects.toThrow('gone');
    work.resolve('done');
    expect(await other).toBe('done');
  });

  it('does not begin to wait when the signal has aborted already, nor lets a late failure of the work go unhandled', async () => {
    const work = deferred<string>();
    await expect(orAborted(work.promise, AbortSignal.abort(new Error('before')))).rejects.toThrow('before');
    work.reject(new Error('late'));
    // An unhandled rejection would fail the whole run.
    await new Promise(setImmediate);
  });
});

describe('waiting no longer than a time', () => {
  it('tells whether the work has ended, and fails as the work fails', async () => {
    expect(await within(60_000, Promise.resolve())).toBe(true);
    expect(await within(1, deferred().promise)).toBe(false);
    await expect(within(60_000, Promise.reject(new Error('no')))).rejects.toThrow('no');
  });
});
