import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Level } from 'level';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { CodedError } from '../../../src/errors.js';
import { toBase32 } from '../../../src/spfs/digest.js';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { coded, digestOf, entry, freshRoot, freshStore, layer, log, platform, put, tag } from './support.js';

const [red, green, blue] = [layer('red'), layer('green'), layer('blue')];

describe('objects', () => {
  test('come back as they were put, in the order of their base32 digests', async () => {
    const store = await freshStore();
    const objects = [red, green, blue, platform(red, green), platform(green, red), platform()];
    await put(store, ...objects);
    await store.read(async (view) => {
      for (const object of objects) expect(await view.object(object.digest)).toEqual(object);
      expect(await view.object(digestOf('none'))).toBeUndefined();
      const sorted = objects.map(({ digest }) => toBase32(digest)).sort();
      expect((await view.objects()).map(({ digest }) => toBase32(digest))).toEqual(sorted);
    });
  });

  test('keep the origin and the time of the first import', async () => {
    const store = await freshStore();
    await tag(store, ['a', red]);
    await tag(store, ['b', { ...red, origin: 'elsewhere', createdAt: '2030-01-01T00:00:00Z' }]);
    expect(await store.read((view) => view.objects())).toEqual([red]);
  });

  test('are found by the beginning of their base32 digest, with and without padding', async () => {
    const store = await freshStore();
    const many = Array.from({ length: 200 }, (_, at) => layer(`layer ${at}`));
    await put(store, ...many);
    await store.read(async (view) => {
      for (const length of [0, 1, 2, 3, 8, 51, 56]) {
        const start = toBase32(many[0]!.digest).slice(0, length);
        const wanted = many.filter(({ digest }) => toBase32(digest).startsWith(start));
        expect(new Set(await view.startingWith(start))).toEqual(new Set(wanted));
      }
      expect(await view.startingWith(`${toBase32(red.digest).slice(0, 20)}====`)).toEqual([]);
      expect(await view.startingWith(`${toBase32(many[7]!.digest).slice(0, 20)}====`)).toEqual([many[7]]);
    });
  });
});

describe('a tag', () => {
  test('has its history, newest first, and does not grow by the digest that it names already', async () => {
    const store = await freshStore();
    await tag(store, ['t', red], ['t', green], ['t', green]);
    await tag(store, ['t', green]);
    await tag(store, ['t', red], ['u', blue]);
    await store.read(async (view) => {
      const history = await view.history('t');
      expect(history).toEqual([entry(red), entry(green), entry(red)]);
      expect(await view.history('u')).toEqual([entry(blue)]);
      expect(await view.history('none')).toEqual([]);
      expect(await view.namesOf(red.digest)).toEqual(['t']);
      expect(await view.namesOf(green.digest)).toEqual([]);
    });
  });

  test('stays in order beyond ten entries', async () => {
    const store = await freshStore();
    const users = Array.from({ length: 23 }, (_, at) => `user ${at}`);
    await store.exclusive('push', async (change) => {
      change.putObject(red);
      change.putObject(green);
      for (const [at, user] of users.entries()) await change.pushTag('t', entry(at % 2 ? red : green, user));
    });
    const history = await store.read((view) => view.history('t'));
    expect(history.map(({ user }) => user)).toEqual([...users].reverse());
  });

  test('is kept apart from those whose name begins like its own, and listed in order', async () => {
    const store = await freshStore();
    const names = ['a', 'a-b', 'a/b', 'a.b', 'aa', 'A', 'shows/x', 'shows/y/z', 'shows'];
    await tag(store, ...names.map((name) => [name, layer(name)] as const));
    await store.read(async (view) => {
      for (const name of names) expect(await view.history(name)).toEqual([entry(layer(name))]);
      expect((await view.tags()).map(({ name }) => name)).toEqual([...names].sort());
      expect(await view.tags('shows/')).toEqual([
        { name: 'shows/x', history: [entry(layer('shows/x'))] },
        { name: 'shows/y/z', history: [entry(layer('shows/y/z'))] },
      ]);
    });
    await store.exclusive('remove', (change) => change.removeTag('a'));
    expect((await store.read((view) => view.tags('a'))).map(({ name }) => name)).toEqual(['a-b', 'a.b', 'a/b', 'aa']);
  });

  test('cannot name what is not there', async () => {
    const store = await freshStore();
    await expect(store.exclusive('push', (change) => change.pushTag('t', entry(red)))).rejects.toEqual(
      coded('not-found'),
    );
    expect(await store.read((view) => view.tags())).toEqual([]);
  });
});

describe('removing a tag', () => {
  test('drops what no tag reaches any more, the layers of a platform included', async () => {
    const store = await freshStore();
    const whole = platform(red, green);
    await put(store, red, green, blue);
    await tag(store, ['whole', whole], ['blue', blue], ['green', green]);
    const gone = await store.exclusive('remove', (change) => change.removeTag('whole'));
    expect(new Set(gone)).toEqual(new Set([whole.digest, red.digest]));
    expect(new Set(await store.read((view) => view.objects()))).toEqual(new Set([green, blue]));
  });

  test('keeps what the history of another tag reaches', async () => {
    const store = await freshStore();
    const whole = platform(red, green);
    await put(store, red, green);
    await tag(store, ['a', whole], ['b', whole], ['b', blue]);
    expect(await store.exclusive('remove', (change) => change.removeTag('a'))).toEqual([]);
    expect((await store.read((view) => view.objects())).length).toBe(4);
  });

  test('keeps what the same change has put, and sees the tags it has given', async () => {
    const store = await freshStore();
    await tag(store, ['a', red]);
    const gone = await store.exclusive('replace', async (change) => {
      change.putObject(green);
      const dropped = await change.removeTag('a');
      expect(await change.object(red.digest)).toBeUndefined();
      expect(await change.history('a')).toEqual([]);
      expect(await change.tags()).toEqual([]);
      await change.pushTag('a', entry(green));
      await change.pushTag('b', entry(green));
      expect(await change.namesOf(green.digest)).toEqual(['a', 'b']);
      return dropped;
    });
    expect(gone).toEqual([red.digest]);
    await store.read(async (view) => {
      expect(await view.objects()).toEqual([green]);
      expect(await view.history('a')).toEqual([entry(green)]);
    });
  });

  test('that is not there names similar ones', async () => {
    const store = await freshStore();
    await tag(store, ['shows/base', red], ['base', green]);
    await expect(store.exclusive('remove', (change) => change.removeTag('shows/bse'))).rejects.toMatchObject({
      code: 'not-found',
      message: 'there is no tag shows/bse; similar: shows/base',
    });
  });
});

describe('a change', () => {
  test('is nothing when its work throws', async () => {
    const store = await freshStore();
    await tag(store, ['a', red]);
    const failing = store.exclusive('fail', async (change) => {
      change.putObject(green);
      await change.pushTag('b', entry(green));
      await change.removeTag('a');
      throw new CodedError('unavailable', 'containerd is away');
    });
    await expect(failing).rejects.toThrow('containerd is away');
    expect(await store.read((view) => view.tags())).toEqual([{ name: 'a', history: [entry(red)] }]);
    expect(await store.read((view) => view.objects())).toEqual([red]);
  });

  test('loses nothing of work that runs side by side in it', async () => {
    const store = await freshStore();
    const objects = Array.from({ length: 30 }, (_, at) => layer(String(at)));
    await store.exclusive('push', async (change) => {
      for (const object of objects) change.putObject(object);
      await Promise.all(objects.map((object) => change.pushTag('t', entry(object))));
    });
    const history = await store.read((view) => view.history('t'));
    expect(new Set(history.map(({ digest }) => digest))).toEqual(new Set(objects.map(({ digest }) => digest)));
  });

  test('refuses work that outlives it, and work inside it that would wait for it', async () => {
    const store = await freshStore();
    const late = await store.exclusive('escape', (change) => Promise.resolve(change));
    expect(() => {
      late.putObject(red);
    }).toThrow('the change has ended');
    await expect(late.pushTag('a', entry(red))).rejects.toThrow('the change has ended');
    await expect(store.exclusive('outer', () => store.read((view) => view.tags()))).rejects.toEqual(coded('internal'));
    await expect(store.read(() => store.exclusive('inner', () => Promise.resolve()))).rejects.toEqual(
      coded('internal'),
    );
    await tag(store, ['a', red]);
  });

  test('waits for the others of its process, in the order they came', async () => {
    const store = await freshStore();
    const objects = Array.from({ length: 40 }, (_, at) => layer(String(at)));
    await Promise.all(objects.map((object) => tag(store, ['t', object])));
    const history = await store.read((view) => view.history('t'));
    expect(history.map(({ digest }) => digest)).toEqual(objects.map(({ digest }) => digest).reverse());
  });

  test('shares the root with other stores of its process', async () => {
    const root = await freshRoot();
    const objects = Array.from({ length: 12 }, (_, at) => layer(String(at)));
    await Promise.all(objects.map((object) => tag(new SpfsStore({ root, log }), ['t', object])));
    expect((await new SpfsStore({ root, log }).read((view) => view.history('t'))).length).toBe(12);
  });

  test.for([
    ['before it took effect', false],
    ['after it took effect', true],
  ] as const)('whose write fails %s is what the disk then says', async ([, effect]) => {
    const store = await freshStore();
    await tag(store, ['a', red]);
    const write = Level.prototype.batch as (this: unknown, ...args: unknown[]) => Promise<void>;
    const failure = Object.assign(new Error('IO error: sync: No space left on device'), { code: 'LEVEL_IO_ERROR' });
    const failing = async function (this: unknown, ...args: unknown[]): Promise<void> {
      if (effect) await write.apply(this, args);
      throw failure;
    };
    const spy = vi.spyOn(Level.prototype, 'batch').mockImplementationOnce(failing as never);
    onTestFinished(() => spy.mockRestore());
    const change = tag(store, ['b', green]);
    if (effect) await change;
    else await expect(change).rejects.toEqual(coded('resource-exhausted'));
    expect(spy).toHaveBeenCalledTimes(1);
    const names = (await store.read((view) => view.tags())).map(({ name }) => name);
    expect(names).toEqual(effect ? ['a', 'b'] : ['a']);
  });

  test('that waits can be called off', async () => {
    const root = await freshRoot();
    const store = new SpfsStore({ root, log });
    await store.exclusive('hold', async () => {
      const calledOff = new AbortController();
      const waiting = new SpfsStore({ root, log }).read((view) => view.tags(), calledOff.signal);
      calledOff.abort(new Error('Ctrl-C'));
      await expect(waiting).rejects.toThrow('Ctrl-C');
    });
  });
});

test('the storage root is made on first use, for its owner alone', async () => {
  const root = await freshRoot();
  await new SpfsStore({ root, log }).read((view) => view.tags());
  expect((await stat(root)).mode & 0o7777).toBe(0o700);
  expect((await stat(dirname(root))).isDirectory()).toBe(true);
});
