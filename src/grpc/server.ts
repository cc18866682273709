import { promisify } from 'node:util';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation, protoPath, type ServingStatus } from 'grpc-health-check';
import type { Logger } from '../log.js';
import {
  definitionOf,
  diffService,
  loadDefinitions,
  loadDescriptors,
  snapshotsService,
  withStrictText,
} from '../protocol/index.js';
import type { DiffMethods, SnapshotsMethods } from '../protocol/index.js';
import { Calls, implementation } from './calls.js';
import { diffHandlers } from './diff-service.js';
import type { DifferPort, SnapshotterPort } from './ports.js';
import { snapshotsHandlers } from './snapshots-service.js';
import { openSocket } from './socket.js';

const messageLimit = 16 * 1024 * 1024;
/** How long running calls may take to end by themselves at shutdown, and how long once they were told to. */
const drainMs = 30_000;
const graceMs = 5_000;
/** How long the last answers may take to leave; watchers of the health service never leave by themselves. */
const closeMs = 1_000;

export interface ServerOptions {
  /** Path of the unix socket to listen on. */
  readonly address: string;
  /** A group whose members may connect besides root. */
  readonly socketGid?: number;
  /** Resolves when it has recovered; calls wait for it, and fail as it fails. */
  readonly snapshotter: Promise<SnapshotterPort>;
  readonly differ: DifferPort;
  /** For calls that come without a namespace. */
  readonly defaultNamespace: string;
  readonly log: Logger;
  /** For tests: how long `drain` lets calls run on, in milliseconds. */
  readonly drainMs?: number;
}

export interface RunningServer {
  /** Stops accepting, lets running calls end (30 s at most, then they are cancelled), closes. Never rejects twice. */
  drain(): Promise<void>;
}

/**
 * Listens at once; calls wait for the snapshotter, and until then the health service answers NOT_SERVING.
 *
 * @throws CodedError as `openSocket`.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { snapshotter, differ, defaultNamespace, log } = options;
  const calls = new Calls({ snapshotter, defaultNamespace, log });
  const definitions = loadDefinitions([snapshotsService, diffService]);
  const server = new Server({
    'grpc.max_receive_message_length': messageLimit,
    'grpc.max_send_message_length': messageLimit,
  });
  const snapshots = implementation<SnapshotsMethods>(calls, snapshotsHandlers, ['List']);
  server.addService(withStrictText(definitionOf(definitions, snapshotsService)), snapshots);
  const diffs = implementation<DiffMethods>(calls, diffHandlers(differ));
  server.addService(withStrictText(definitionOf(definitions, diffService)), diffs);
  const setHealth = addHealth(server);
  new ReflectionService(loadDescriptors([snapshotsService, diffService], [protoPath])).addToServer(server);

  let stopping: Promise<void> | undefined;
  snapshotter.then(
    () => {
      if (stopping === undefined) setHealth('SERVING');
    },
    (error: unknown) => log.error({ err: error }, 'recovery failed: every call is answered with its error'),
  );

  const bind = promisify(server.bindAsync.bind(server));
  const socket = await openSocket({
    path: options.address,
    groupId: options.socketGid,
    bind: async (path) => {
      await bind(`unix:${path}`, ServerCredentials.createInsecure());
    },
  }).catch((error: unknown) => {
    server.forceShutdown();
    throw error;
  });
  log.info({ address: options.address }, 'listening');

  const stop = async () => {
    setHealth('NOT_SERVING');
    await socket.remove();
    const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    await calls.drain(options.drainMs ?? drainMs, graceMs);
    const force = setTimeout(() => server.forceShutdown(), closeMs);
    await closed;
    clearTimeout(force);
  };
  return { drain: () => (stopping ??= stop()) };
}

/** One status for the whole server and for both services: they become ready and stop together. */
function addHealth(server: Server): (status: ServingStatus) => void {
  const names = ['', snapshotsService.name, diffService.name];
  const health = new HealthImplementation(Object.fromEntries(names.map((name) => [name, 'NOT_SERVING'])));
  health.addToServer(server);
  return (status) => names.forEach((name) => health.setStatus(name, status));
}
