import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, status } from '@grpc/grpc-js';
import type { ErrorCode } from '../../src/errors.js';
import { startServer, type RunningServer } from '../../src/grpc/index.js';
import { silentLogger } from '../../src/log.js';
import {
  fromInt64,
  loadDefinitions,
  ServiceClient,
  snapshotsService,
  type SnapshotInfoMessage,
  type SnapshotsMethods,
} from '../../src/protocol/index.js';
import type { Snapshotter } from '../../src/snapshots/index.js';
import { openSnapshotter } from './in-process.js';
import type { Info, Port, World } from './world.js';

const within = { deadlineMs: 60_000 };

const codes: Partial<Record<status, ErrorCode>> = {
  [status.NOT_FOUND]: 'not-found',
  [status.ALREADY_EXISTS]: 'already-exists',
  [status.INVALID_ARGUMENT]: 'invalid-argument',
  [status.FAILED_PRECONDITION]: 'failed-precondition',
};

/** An error with the ErrorCode that its status stands for, as {@link Port} promises. */
async function translated<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    const { code, details } = error as { code: status; details: string };
    throw Object.assign(new Error(details, { cause: error }), { code: codes[code] ?? status[code] });
  }
}

function infoOf(message: SnapshotInfoMessage | null): Info {
  if (message === null) throw new Error('an answer without its snapshot');
  const { name, parent, labels, kind, createdAt, updatedAt } = message;
  const date = (at: typeof createdAt) => BigInt(at!.seconds) * 1_000_000_000n + BigInt(at!.nanos);
  return {
    name,
    parent,
    labels: { ...labels },
    kind: kind.toLowerCase() as Info['kind'],
    createdAt: date(createdAt),
    updatedAt: date(updatedAt),
  };
}

function portOf(client: ServiceClient<SnapshotsMethods>): Port {
  const snapshotter = 'spin-erofs';
  const unnamed = { parent: '', kind: 'UNKNOWN', createdAt: null, updatedAt: null } as const;
  const call: typeof client.unary = (name, request, options) => translated(client.unary(name, request, options));
  return {
    prepare: async (key, parent = '', labels = {}) =>
      (await call('Prepare', { snapshotter, key, parent, labels }, within)).mounts,
    view: async (key, parent = '', labels = {}) =>
      (await call('View', { snapshotter, key, parent, labels }, within)).mounts,
    mounts: async (key) => (await call('Mounts', { snapshotter, key }, within)).mounts,
    commit: async (name, key, { parent = '', labels = {} } = {}) => {
      await call('Commit', { snapshotter, name, key, parent, labels }, within);
    },
    remove: async (key) => {
      await call('Remove', { snapshotter, key }, within);
    },
    stat: async (key) => infoOf((await call('Stat', { snapshotter, key }, within)).info),
    update: async (name, labels, paths = []) => {
      const info = { ...unnamed, name, labels };
      return infoOf((await call('Update', { snapshotter, info, updateMask: { paths } }, within)).info);
    },
    list: async (...filters) => {
      const found: Info[] = [];
      const collect = async () => {
        for await (const { info } of client.stream('List', { snapshotter, filters }, { stallMs: 60_000 })) {
          found.push(...info.map(infoOf));
        }
      };
      await translated(collect());
      return found;
    },
    usage: async (key) => {
      const { size, inodes } = await call('Usage', { snapshotter, key }, within);
      return { bytes: fromInt64(size, 'size'), inodes: fromInt64(inodes, 'inodes') };
    },
    cleanup: async () => {
      await call('Cleanup', { snapshotter }, within);
    },
  };
}

interface Running {
  readonly port: Port;
  stop(): Promise<void>;
}

async function start(root: string, address: string): Promise<Running> {
  const snapshotter: Snapshotter = await openSnapshotter(root);
  const server: RunningServer = await startServer({
    address,
    snapshotter: Promise.resolve(snapshotter),
    differ: {
      apply: () => Promise.reject(new Error('this suite applies no layers')),
      compare: () => Promise.reject(new Error('this suite compares nothing')),
    },
    defaultNamespace: 'conformance',
    log: silentLogger(),
  });
  const channel = new Client(`unix:${address}`, credentials.createInsecure());
  return {
    port: portOf(new ServiceClient(channel, loadDefinitions([snapshotsService]), snapshotsService)),
    async stop() {
      channel.close();
      await server.drain();
      await snapshotter.close();
    },
  };
}

/** The same snapshotter behind its socket: what containerd talks to. */
export async function makeGrpcWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const root = join(folder, 'root');
  const address = join(folder, 'run', 'grpc.sock');
  let running = await start(root, address);
  return {
    root,
    get port() {
      return running.port;
    },
    async reopen() {
      await running.stop();
      running = await start(root, address);
    },
    async close() {
      await running.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
