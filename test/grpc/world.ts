import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, type ClientOptions } from '@grpc/grpc-js';
import { startServer, type DifferPort, type RunningServer, type SnapshotterPort } from '../../src/grpc/index.js';
import type { CompareSides, ExtractTarget } from '../../src/layers/index.js';
import { silentLogger, type Logger } from '../../src/log.js';
import { diffService, loadDefinitions, ServiceClient, snapshotsService } from '../../src/protocol/index.js';
import type { SnapshotInfo } from '../../src/snapshots/index.js';

/** The services hand these two on and do not look into them. */
export const target = { id: 7 } as ExtractTarget;
export const comparedSides = { temporary: (purpose) => purpose } as CompareSides;

/** A snapshotter whose methods a test sets; one that it does not set fails. */
export function fakeSnapshotter(given: Partial<SnapshotterPort>): SnapshotterPort {
  const unset = () => Promise.reject(new Error('this test did not expect that call'));
  return {
    prepare: unset,
    view: unset,
    mounts: unset,
    commit: unset,
    remove: unset,
    stat: unset,
    update: unset,
    list: () => toAsync([]),
    usage: unset,
    cleanup: unset,
    extractTarget: unset,
    compareSides: unset,
    ...given,
  };
}

export function info(name: string, more: Partial<SnapshotInfo> = {}): SnapshotInfo {
  const at = 1_714_979_289_123_456_789n;
  return { name, parent: '', kind: 'active', labels: {}, createdAt: at, updatedAt: at, ...more };
}

/** Yields asynchronously, as a database does. */
export async function* toAsync<T>(items: Iterable<T>): AsyncGenerator<T> {
  for (const item of items) yield await Promise.resolve(item);
}

export interface WorldOptions {
  /** When the recovery ends; at once, unless given. */
  readonly recovered?: Promise<void>;
  readonly snapshotter?: Partial<SnapshotterPort>;
  readonly apply?: DifferPort['apply'];
  readonly compare?: DifferPort['compare'];
  readonly log?: Logger;
  readonly drainMs?: number;
  readonly client?: ClientOptions;
}

/** The real server around a fake snapshotter, on a socket of its own, and real clients of it. */
export async function startWorld(options: WorldOptions = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const address = join(folder, 'run', 'test.sock');
  const differ = {
    apply: options.apply ?? (() => Promise.reject(new Error('this test did not expect an Apply'))),
    compare: options.compare ?? (() => Promise.reject(new Error('this test did not expect a Diff'))),
  };
  const server: RunningServer = await startServer({
    address,
    snapshotter: (options.recovered ?? Promise.resolve()).then(() => fakeSnapshotter(options.snapshotter ?? {})),
    differ,
    defaultNamespace: 'fallback',
    log: options.log ?? silentLogger(),
    drainMs: options.drainMs ?? 0,
  });
  const channel = new Client(`unix:${address}`, credentials.createInsecure(), options.client ?? {});
  const definitions = loadDefinitions([snapshotsService, diffService]);
  return {
    address,
    folder,
    server,
    channel,
    snapshots: new ServiceClient(channel, definitions, snapshotsService),
    diff: new ServiceClient(channel, definitions, diffService),
    async close() {
      channel.close();
      await server.drain();
      await rm(folder, { recursive: true });
    },
  };
}

export type World = Awaited<ReturnType<typeof startWorld>>;

export const within = { deadlineMs: 5000 };
