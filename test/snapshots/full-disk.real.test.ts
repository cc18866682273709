import { promises } from 'node:fs';
import { mkdir, open as openFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { CodedError } from '../../src/errors.js';
import { asCodedError } from '../../src/host/index.js';
import type { Snapshotter } from '../../src/snapshots/index.js';
import { openSnapshotter, portOf } from '../conformance/in-process.js';
import type { Info } from '../conformance/world.js';
import { requires } from '../harness/requires.js';
import { share } from '../harness/share.js';
import { applyLayer, makeChain, writeAsGuest } from './crash-operations.js';
import { SmallDisk } from './small-disk.js';

interface Operation {
  readonly setUp?: (snapshotter: Snapshotter) => Promise<unknown>;
  readonly run: (snapshotter: Snapshotter) => Promise<unknown>;
}

const signal = new AbortController().signal;

/** Each call that takes space. None may be half done: it either took place, or nothing of it is there. */
const operations: Readonly<Record<string, Operation>> = {
  'Prepare of a container, with a merge': { run: (s) => s.prepare({ key: 'box', parent: 'c3', labels: {} }) },
  'Prepare to extract': { run: (s) => s.prepare({ key: 'x/extract-4', parent: 'c3', labels: {} }) },
  View: { run: (s) => s.view({ key: 'look', parent: 'c2', labels: {} }) },
  Apply: {
    setUp: (s) => s.prepare({ key: 'x/extract-4', parent: 'c3', labels: {} }),
    run: (s) => applyLayer(s),
  },
  'Commit of an applied layer': {
    setUp: async (s) => {
      await s.prepare({ key: 'x/extract-4', parent: 'c3', labels: {} });
      await applyLayer(s);
    },
    run: (s) => s.commit({ name: 'c4', key: 'x/extract-4', labels: { committed: 'yes' } }),
  },
  'Commit of a folder': {
    setUp: async (s) => {
      const [bind] = await s.prepare({ key: 'extract-x', parent: '', labels: {} });
      await writeFile(join(bind!.source, 'file'), 'content\n'.repeat(5000));
    },
    run: (s) => s.commit({ name: 'plain', key: 'extract-x', labels: {} }),
  },
  'Commit of what a guest wrote': {
    setUp: writeAsGuest,
    run: (s) => s.commit({ name: 'saved', key: 'box', labels: {} }),
  },
  Diff: {
    setUp: async (s) => {
      await writeAsGuest(s);
      await s.view({ key: 'left', parent: 'c1', labels: {} });
    },
    run: async (s) => {
      const [left, right] = [await s.mounts('left'), await s.mounts('box')];
      const sides = await s.compareSides({ left, right, labels: {}, signal });
      await sides.withTrees(async ({ path }) => readdir(path));
      await sides.withUpper!(async ({ path }) => readdir(path));
    },
  },
  Update: { run: (s) => s.update({ name: 'c1', labels: { changed: 'x'.repeat(4000) } }, ['labels']) },
  Remove: { run: (s) => s.remove('old') },
};

interface Disk {
  readonly disk: SmallDisk;
  readonly root: string;
  readonly snapshotter: Snapshotter;
}

async function open(kind: 'tmpfs' | 'ext4'): Promise<Disk> {
  const disk = await SmallDisk.make(kind);
  const root = join(disk.path, 'root');
  const snapshotter = await openSnapshotter(root);
  onTestFinished(() => snapshotter.close());
  await makeChain(snapshotter);
  return { disk, root, snapshotter };
}

const infosOf = (snapshotter: Snapshotter) => portOf(snapshotter).list();

/** What the reading calls answer about every snapshot. */
async function answers(snapshotter: Snapshotter): Promise<unknown> {
  const port = portOf(snapshotter);
  const all = [];
  for (const { name, kind } of await port.list()) {
    const mounts = kind === 'committed' ? [] : await port.mounts(name);
    const usage = kind === 'committed' ? await port.usage(name) : (await port.usage(name)).inodes;
    all.push([await port.stat(name), mounts, usage]);
  }
  return all;
}

/** Every folder has a record that says the same as its snapshot.json, every record a folder, and nothing unfinished lies about. */
async function expectAgreement(root: string, infos: readonly Info[], where: string): Promise<void> {
  const snapshots = join(root, 'snapshots');
  const folders = await readdir(snapshots);
  const named = new Map<string, unknown>();
  for (const folder of folders) {
    expect(await readdir(join(snapshots, folder)), where).not.toContainEqual(expect.stringMatching(/^\.tmp-/));
    const file = JSON.parse(await readFile(join(snapshots, folder, 'snapshot.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    named.set(String(file['key']), [file['kind'], file['parent'], file['labels']]);
  }
  expect(new Map([...named].sort()), where).toEqual(
    new Map(infos.map(({ name, kind, parent, labels }) => [name, [kind, parent, labels]] as const).sort()),
  );
}

/** The differ words what it meets in Apply and Diff; here the snapshotter's part runs alone. */
function failureOf(call: Promise<unknown>): Promise<CodedError | undefined> {
  return call.then(
    () => undefined,
    (error: unknown) => asCodedError(error, 'the call'),
  );
}

/** Tries the call with more and more room, until it has enough. @returns how often it was refused */
async function throughEveryStage(what: 'blocks' | 'inodes', name: string, kind: 'tmpfs' | 'ext4'): Promise<number> {
  const { disk, root, snapshotter } = await open(kind);
  const operation = operations[name]!;
  await operation.setUp?.(snapshotter);
  await snapshotter.cleanup();
  let refusals = 0;
  for (let room = 0; ; room += room < 24 ? 1 : 16) {
    const where = `${name}, ${room} ${what} left on ${kind}`;
    const before = await answers(snapshotter);
    const infos = await infosOf(snapshotter);
    await disk.leave(what, room);
    const failure = await failureOf(operation.run(snapshotter));
    if (failure === undefined) {
      await disk.free();
      await expectAgreement(root, await infosOf(snapshotter), where);
      break;
    }
    refusals += 1;
    expect(failure, where).toMatchObject({ code: 'resource-exhausted' });
    expect(await answers(snapshotter), where).toEqual(before);
    await expectAgreement(root, infos, `${where}, still full`);
    await disk.free();
    await expectAgreement(root, await infosOf(snapshotter), `${where}, freed`);
    expect(room, 'it is never enough').toBeLessThan(6000);
  }
  await snapshotter.cleanup();
  const infos = await infosOf(snapshotter);
  await snapshotter.close();
  // A start finds nothing to put right.
  const again = await openSnapshotter(root);
  expect(await infosOf(again)).toEqual(infos);
  await again.close();
  return refusals;
}

const stages = Object.keys(operations).flatMap((name) =>
  (['blocks', 'inodes'] as const).flatMap((what) => (['tmpfs', 'ext4'] as const).map((kind) => ({ name, what, kind }))),
);

requires(
  'root',
  'loop',
  'erofs',
  'ext4',
  'mkfs.erofs',
)('a disk that is full at any stage of a call', () => {
  it.each(share(stages, 8))('leaves nothing half done: $name, no $what on $kind', async ({ name, what, kind }) => {
    const refusals = await throughEveryStage(what, name, kind);
    if (/Prepare|View|Update|folder/.test(name)) expect(refusals, 'it was never refused').toBeGreaterThan(0);
  });
});

type Method = (this: unknown, ...args: unknown[]) => Promise<unknown>;

/** Stands in for a method until it is put back: what the kernel answers while a disk fails. */
function replaced(owner: object, name: string, by: (original: Method) => Method): () => void {
  const methods = owner as Record<string, Method>;
  const original = methods[name]!;
  methods[name] = by(original);
  return () => {
    methods[name] = original;
  };
}

/** The object that has LevelDB's one way of writing. */
function batchOwner(): object {
  let owner = Level.prototype as object;
  while (!Object.hasOwn(owner, 'batch')) owner = Object.getPrototypeOf(owner) as object;
  return owner;
}

const changing = ['mkdir', 'writeFile', 'rename', 'rm', 'rmdir', 'unlink', 'symlink', 'link', 'copyFile'];

/**
 * Stands in for a remount that the kernel refuses while LevelDB's log is open for writing. A tool that would write says what it
 * says then.
 */
function readOnly(handles: object): () => void {
  const erofs = () => Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' });
  const level = () =>
    Object.assign(new Error('IO error: 000005.log: Read-only file system'), { code: 'LEVEL_IO_ERROR' });
  const refused = () => () => Promise.reject(erofs());
  const path = process.env['PATH'];
  const back = [
    ...changing.map((name) => replaced(promises, name, refused)),
    replaced(promises, 'open', (original) => {
      return function (...args) {
        return (args[1] ?? 'r') === 'r' ? original.apply(this, args) : Promise.reject(erofs());
      };
    }),
    ...['sync', 'datasync', 'writeFile', 'write', 'truncate'].map((name) => replaced(handles, name, refused)),
    replaced(batchOwner(), 'batch', () => () => Promise.reject(level())),
  ];
  process.env['PATH'] = `${unwritableTools}:${path}`;
  return () => {
    back.forEach((putBack) => putBack());
    syncBuiltinESMExports();
    process.env['PATH'] = path;
  };
}

const unwritableTools = join(tmpdir(), `erofs-snapshotter-unwritable-${process.pid}`);

beforeAll(async () => {
  await mkdir(unwritableTools);
  const tool = '#!/bin/sh\necho "failed to open: Read-only file system" >&2\nexit 1\n';
  await writeFile(join(unwritableTools, 'mkfs.erofs'), tool, { mode: 0o755 });
});
afterAll(() => rm(unwritableTools, { recursive: true }));

requires(
  'root',
  'loop',
  'erofs',
  'ext4',
  'mkfs.erofs',
)('a disk that fails or becomes read-only, and is mended', () => {
  const eio = () => Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
  const levelError = () =>
    Object.assign(new Error('IO error: 000005.log: Input/output error'), { code: 'LEVEL_IO_ERROR' });
  const faults: Readonly<Record<string, (handles: object) => () => void>> = {
    'no batch is written': () => replaced(batchOwner(), 'batch', () => () => Promise.reject(levelError())),
    'batches are written and yet fail': () =>
      replaced(
        batchOwner(),
        'batch',
        (original) =>
          async function (...args) {
            await original.apply(this, args);
            throw levelError();
          },
      ),
    'nothing is flushed': (handles) => replaced(handles, 'sync', () => () => Promise.reject(eio())),
    'the disk is read-only': readOnly,
  };

  const cases = Object.keys(operations).flatMap((name) => Object.keys(faults).map((fault) => ({ name, fault })));
  it.each(share(cases, 16))(
    'leaves nothing half done, and works again without a restart: $name, $fault',
    async ({ name, fault }) => {
      const { root, snapshotter } = await open('tmpfs');
      const operation = operations[name]!;
      await operation.setUp?.(snapshotter);
      await snapshotter.cleanup();
      const handle = await openFile('/dev/null', 'r');
      const handles = Object.getPrototypeOf(handle) as object;
      await handle.close();
      const before = await answers(snapshotter);
      const mend = faults[fault]!(handles);
      syncBuiltinESMExports();
      let failure: unknown;
      try {
        failure = await failureOf(operation.run(snapshotter));
        if (failure) expect(await answers(snapshotter)).toEqual(before);
      } finally {
        mend();
      }
      await snapshotter.cleanup();
      await expectAgreement(root, await infosOf(snapshotter), `${name}, ${fault}, mended`);
      if (failure) await operation.run(snapshotter);
      await snapshotter.cleanup();
      const infos = await infosOf(snapshotter);
      await expectAgreement(root, infos, `${name}, ${fault}, done`);
      await snapshotter.close();
      const again = await openSnapshotter(root);
      expect(await infosOf(again)).toEqual(infos);
      await again.close();
    },
  );
});
