import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { convertDirectory, convertTar, layerUuid } from '../../src/erofs/index.js';
import { isCode } from '../../src/errors.js';
import { run } from '../../src/host/index.js';
import type { Snapshotter } from '../../src/snapshots/index.js';
import { snapshotRefLabel, type Digest } from '../../src/vocabulary.js';
import { Guest } from '../conformance/guest-mounts.js';

/** One way to change a root, which may be cut short at any step and is then asked for again. */
export interface Operation {
  /** Brings a root with the chain of {@link makeChain} to where the operation starts. */
  readonly setUp?: (snapshotter: Snapshotter) => Promise<unknown>;
  /** Changes the closed root behind the snapshotter's back, after `setUp`. */
  readonly damage?: (root: string) => Promise<void>;
  /** May be called again after it was cut short, and then does what is left to do. */
  readonly run: (snapshotter: Snapshotter) => Promise<unknown>;
  /** Names that exist afterwards and did not before, and the other way round; `<id>` stands for any number. */
  readonly adds?: readonly string[];
  readonly removes?: readonly string[];
  /** Few steps, all of which every run tries: what a crash leaves depends on the very one. */
  readonly everyStep?: boolean;
  /** The steps of opening and recovering count too. */
  readonly fromStart?: boolean;
}

const digest: Digest = `sha256:${'4'.repeat(64)}`;

/**
 * A layer as an unpacker commits it with `rebase`: `extract-` key, content in `fs/`, parent named at Commit. On a parent only what
 * Apply made is taken.
 */
export async function commitFolder(
  snapshotter: Snapshotter,
  name: string,
  parent: string,
  fill: (upper: string) => Promise<void>,
): Promise<void> {
  const key = `extract-${name}`;
  const [bind] = await snapshotter.prepare({ key, parent: '', labels: {} });
  await fill(bind!.source);
  if (parent !== '') {
    const target = await snapshotter.extractTarget([bind!]);
    const output = target.temporary('layer.erofs');
    const digest: Digest = `sha256:${createHash('sha256').update(name).digest('hex')}`;
    const superblock = await convertDirectory({
      directory: bind!.source,
      output,
      uuid: layerUuid(digest),
      deadlineMs: 60_000,
    });
    await target.publishLayer(output, { digest, diffId: digest, tarBytes: 1024, superblock });
  }
  await snapshotter.commit({ name, key, parent, labels: {} });
}

/** c1 ← c2 ← c3, an active snapshot and a view on c2, merged; all of them in use. */
export async function makeChain(snapshotter: Snapshotter): Promise<void> {
  for (const layer of [1, 2, 3]) {
    await commitFolder(snapshotter, `c${layer}`, layer === 1 ? '' : `c${layer - 1}`, async (upper) => {
      await writeFile(join(upper, `file-${layer}`), `layer ${layer}\n`);
      await mkdir(join(upper, `folder-${layer}`));
    });
  }
  await snapshotter.prepare({ key: 'old', parent: 'c2', labels: { kept: 'yes' } });
  await snapshotter.view({ key: 'old-view', parent: 'c2', labels: {} });
}

async function unless(code: 'already-exists' | 'not-found', call: Promise<unknown>): Promise<void> {
  await call.catch((error: unknown) => {
    if (!isCode(error, code)) throw error;
  });
}

/** What Apply does once it has the uncompressed tar. */
export async function applyLayer(snapshotter: Snapshotter, key = 'x/extract-4'): Promise<void> {
  const target = await snapshotter.extractTarget(await snapshotter.mounts(key));
  // Only the image takes space on the snapshotter's disk.
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const tar = join(folder, 'layer.tar');
  const output = target.temporary('layer.erofs');
  try {
    await run('tar', ['-cf', tar, '-C', '/', '--files-from', '/dev/null'], { deadlineMs: 10_000 });
    const superblock = await convertTar({ tar, output, uuid: layerUuid(digest), deadlineMs: 60_000 });
    await target.publishLayer(output, { digest, diffId: digest, tarBytes: 10240, superblock });
  } finally {
    await rm(folder, { recursive: true });
    await rm(output, { force: true });
  }
}

const prepareExtract = (snapshotter: Snapshotter) =>
  snapshotter.prepare({ key: 'x/extract-4', parent: 'c3', labels: {} });

export async function writeAsGuest(snapshotter: Snapshotter): Promise<void> {
  const mounts = await snapshotter.prepare({ key: 'box', parent: 'c1', labels: {} });
  const guest = await Guest.open();
  try {
    await guest.in(mounts, (root) => writeFile(join(root, 'written'), 'by the guest\n'));
  } finally {
    await guest.close();
  }
}

/** Needs no root: it makes one. */
export const firstStart: Operation = { fromStart: true, run: () => Promise.resolve() };

export const operations: Readonly<Record<string, Operation>> = {
  'prepare a container on a chain that is not merged yet': {
    run: (snapshotter) => unless('already-exists', snapshotter.prepare({ key: 'box', parent: 'c3', labels: {} })),
    adds: ['box'],
  },
  'view a chain': {
    run: (snapshotter) => unless('already-exists', snapshotter.view({ key: 'look', parent: 'c2', labels: {} })),
    adds: ['look'],
  },
  'prepare a snapshot to extract into': {
    run: (snapshotter) => unless('already-exists', prepareExtract(snapshotter)),
    adds: ['x/extract-4'],
  },
  'publish an extracted layer': { setUp: prepareExtract, run: applyLayer },
  'share a layer that another snapshot holds': {
    setUp: async (snapshotter) => {
      await prepareExtract(snapshotter);
      await applyLayer(snapshotter);
      await snapshotter.commit({ name: 'c4', key: 'x/extract-4', parent: '', labels: {} });
      await snapshotter.prepare({ key: 'y/extract-5', parent: 'c2', labels: {} });
    },
    run: async (snapshotter) => {
      const target = await snapshotter.extractTarget(await snapshotter.mounts('y/extract-5'));
      if (!(await target.adoptLayer(digest))) throw new Error('the layer is here and was not found');
    },
  },
  'answer a Prepare for a layer that is here': {
    setUp: async (snapshotter) => {
      await prepareExtract(snapshotter);
      await applyLayer(snapshotter);
      await snapshotter.commit({ name: 'c4', key: 'x/extract-4', parent: '', labels: {} });
    },
    run: (snapshotter) =>
      snapshotter
        .prepare({ key: 'x/extract-5', parent: '', labels: { [snapshotRefLabel]: digest } })
        .then(() => Promise.reject(new Error('the layer is here and was not found')))
        .catch((error: unknown) => {
          if (!isCode(error, 'already-exists')) throw error;
        }),
    adds: ['shared-layer/<id>'],
  },
  'commit an extracted layer': {
    setUp: async (snapshotter) => {
      await prepareExtract(snapshotter);
      await applyLayer(snapshotter);
    },
    run: (snapshotter) =>
      snapshotter
        .commit({ name: 'c4', key: 'x/extract-4', parent: '', labels: {} })
        .catch(async () => snapshotter.stat('c4')),
    adds: ['c4'],
    removes: ['x/extract-4'],
  },
  'commit what a guest wrote (block mode)': {
    setUp: writeAsGuest,
    run: (snapshotter) =>
      snapshotter
        .commit({ name: 'saved', key: 'box', parent: '', labels: {} })
        .catch(async () => snapshotter.stat('saved')),
    adds: ['saved'],
    removes: ['box'],
  },
  'commit a plain folder (overlay mode)': {
    setUp: async (snapshotter) => {
      const [bind] = await snapshotter.prepare({ key: 'extract-x', parent: '', labels: {} });
      await writeFile(join(bind!.source, 'file'), 'content\n');
    },
    run: (snapshotter) =>
      snapshotter
        .commit({ name: 'plain', key: 'extract-x', parent: '', labels: {} })
        .catch(async () => snapshotter.stat('plain')),
    adds: ['plain'],
    removes: ['extract-x'],
  },
  'read both sides of a diff': {
    everyStep: true,
    run: async (snapshotter) => {
      const [left, right] = [await snapshotter.mounts('old-view'), await snapshotter.mounts('old')];
      const { signal } = new AbortController();
      const sides = await snapshotter.compareSides({ left, right, labels: {}, signal });
      await sides.withUpper?.(({ path }) => readdir(path));
      await sides.withTrees((before, after) => Promise.all([readdir(before.path), readdir(after.path)]));
    },
  },
  'update labels': {
    run: (snapshotter) => snapshotter.update({ name: 'c1', labels: { changed: 'yes' } }, ['labels']),
  },
  'remove a container and erase it': {
    setUp: (snapshotter) => snapshotter.prepare({ key: 'box', parent: 'c3', labels: {} }),
    run: async (snapshotter) => {
      await unless('not-found', snapshotter.remove('box'));
      await snapshotter.cleanup();
    },
    removes: ['box'],
  },
  'recover after an earlier crash, with the database lost': {
    fromStart: true,
    damage: async (root) => {
      await rm(join(root, 'metadata.db'), { recursive: true });
      await mkdir(join(root, 'trash', '90-0'));
      await writeFile(join(root, 'trash', '90-0', 'file'), '');
      await mkdir(join(root, 'snapshots', '91', 'fs'), { recursive: true });
      await writeFile(join(root, 'snapshots', '91', '.erofs-snapshotter-leveldb'), '');
      await writeFile(join(root, 'snapshots', '91', '.erofslayer'), '');
      await writeFile(join(root, 'snapshots', '1', '.tmp-0123456789abcdef-fsmeta.erofs'), 'unfinished');
    },
    run: () => Promise.resolve(),
  },
};
