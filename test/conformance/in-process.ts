import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkErofsTools, type ErofsTools } from '../../src/erofs/index.js';
import { Slots } from '../../src/jobs.js';
import { silentLogger } from '../../src/log.js';
import { openRoot, type Root, type Snapshotter, type SnapshotterOptions } from '../../src/snapshots/index.js';
import type { Port, World } from './world.js';

let tools: Promise<ErofsTools> | undefined;

async function openTestRoot(root: string, more: Partial<SnapshotterOptions> = {}): Promise<Root> {
  tools ??= checkErofsTools();
  return openRoot({
    root,
    defaultSize: 64 * 1024 * 1024,
    setImmutable: false,
    tools: await tools,
    slots: new Slots(2),
    conversionTimeoutMs: 60_000,
    log: silentLogger(),
    ...more,
  });
}

/** A snapshotter on `root`, recovered. */
export async function openSnapshotter(root: string, more: Partial<SnapshotterOptions> = {}): Promise<Snapshotter> {
  const opened = await openTestRoot(root, more);
  try {
    return await opened.recover();
  } catch (error) {
    await opened.close();
    throw error;
  }
}

export function portOf(snapshotter: Snapshotter): Port {
  return {
    prepare: (key, parent = '', labels = {}) => snapshotter.prepare({ key, parent, labels }),
    view: (key, parent = '', labels = {}) => snapshotter.view({ key, parent, labels }),
    mounts: (key) => snapshotter.mounts(key),
    commit: (name, key, { parent = '', labels = {} } = {}) => snapshotter.commit({ name, key, parent, labels }),
    remove: (key) => snapshotter.remove(key),
    stat: (key) => snapshotter.stat(key),
    update: (name, labels, paths = []) => snapshotter.update({ name, labels }, paths),
    list: async (...filters) => {
      const found = [];
      for await (const info of snapshotter.list(filters)) found.push(info);
      return found;
    },
    usage: (key) => snapshotter.usage(key),
    cleanup: () => snapshotter.cleanup(),
  };
}

/** A snapshotter in this process; `snapshotter` is it, for tests that need more than the port. */
export interface InProcessWorld extends World {
  readonly snapshotter: Snapshotter;
}

export async function makeInProcessWorld(more: Partial<SnapshotterOptions> = {}): Promise<InProcessWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const root = join(folder, 'root');
  let snapshotter = await openSnapshotter(root, more);
  return {
    root,
    get snapshotter() {
      return snapshotter;
    },
    get port() {
      return portOf(snapshotter);
    },
    async reopen() {
      await snapshotter.close();
      snapshotter = await openSnapshotter(root, more);
    },
    async close() {
      await snapshotter.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
