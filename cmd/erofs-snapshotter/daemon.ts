import type { Config } from '../../src/config/index.js';
import { connectContainerd } from '../../src/containerd/index.js';
import { LayerComparer, LayerDiffer } from '../../src/diff/index.js';
import { checkErofsTools, minimumToMerge, type ErofsTools } from '../../src/erofs/index.js';
import { startServer, type DifferPort } from '../../src/grpc/index.js';
import { notifyReady, requireTool } from '../../src/host/index.js';
import { Slots } from '../../src/jobs.js';
import type { Logger } from '../../src/log.js';
import { packageVersion } from '../../src/package.js';
import { withScope, type Scope } from '../../src/scope.js';
import { openRoot, type Root } from '../../src/snapshots/index.js';
import { logOtherWords } from './other-words.js';
import { firstSignal, logOtherSignals } from './signals.js';

/** Milliseconds after which a conversion leaves its turn to others; most take less than five seconds. */
const overtimeAfterMs = 8_000;

/**
 * Runs the daemon until a signal ends it: then what runs is drained, and all is closed in reverse order.
 *
 * @throws CodedError when it cannot start.
 */
export async function serve(config: Config, log: Logger): Promise<void> {
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'a bug: ending');
    process.exit(1);
  });
  logOtherWords(log);
  logOtherSignals(log);
  const stopped = firstSignal(log);
  log.info({ version: packageVersion(), config }, 'starting');
  const uid = process.geteuid?.() ?? 0;
  if (uid !== 0) log.warn({ uid }, 'not root: what needs a mount fails, committing a container above all');
  try {
    await withScope(log, async (scope) => {
      const root = await listen(config, log, scope);
      await Promise.race([recover(root, log), stopped]);
      log.info({ signal: await stopped }, 'stopping');
    });
  } catch (error) {
    log.debug({ err: error }, 'could not start');
    throw error;
  }
  log.info('stopped');
}

/** Listens before it recovers: containerd finds the socket, and its calls wait. */
async function listen(config: Config, log: Logger, scope: Scope): Promise<Root> {
  const tools = await checkTools(log);
  // A layer that takes mkfs.erofs minutes, as many names in one folder do, does not make the others wait.
  const slots = new Slots(config.maxConversions, { afterMs: overtimeAfterMs, atMost: config.maxConversions });
  const conversionTimeoutMs = config.conversionTimeoutSeconds * 1000;
  const { defaultSize, setImmutable, shareLayers, guestDisks } = config;

  const root = await openRoot({
    root: config.root,
    defaultSize,
    setImmutable,
    guestDisks,
    shareLayers,
    tools,
    slots,
    conversionTimeoutMs,
    expectLayer: (layer) => applier.expect(layer),
    log,
  });
  scope.defer('snapshotter', () => root.close());

  const defaultNamespace = config.containerdNamespace;
  const containerd = connectContainerd({ address: config.containerdAddress, defaultNamespace, log });
  scope.defer('connection to containerd', () => containerd.close());

  const applier = new LayerDiffer({
    content: containerd.content,
    slots,
    conversionTimeoutMs,
    maxLayerBytes: config.maxLayerSize,
    // One conversion is always left for the layer that containerd waits for.
    aheadAtOnce: config.convertAhead ? config.maxConversions - 1 : 0,
    log,
  });
  scope.defer('differ', () => applier.close());
  const comparer = new LayerComparer({ blobs: containerd.blobs, slots, timeoutMs: conversionTimeoutMs, log });
  const differ: DifferPort = {
    apply: (o) => applier.apply(o),
    compare: (o) => comparer.compare(o),
  };

  const { address, socketGid } = config;
  const { recovered } = root;
  const server = await startServer({ address, socketGid, snapshotter: recovered, differ, defaultNamespace, log });
  scope.defer('server', () => server.drain());
  tellServiceManager(log);
  return root;
}

async function checkTools(log: Logger): Promise<ErofsTools> {
  const tools = await checkErofsTools();
  await requireTool('mkfs.ext4', 'install e2fsprogs');
  if (!tools.canMerge) {
    log.warn(
      { found: tools.version, needed: minimumToMerge },
      'mkfs.erofs is too old to merge layers: each layer of an image becomes a mount of its own',
    );
  }
  return tools;
}

function tellServiceManager(log: Logger): void {
  const socket = process.env['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return;
  try {
    notifyReady(socket);
  } catch (error) {
    log.warn({ err: error, socket }, 'could not tell the service manager that this is ready');
  }
}

async function recover(root: Root, log: Logger): Promise<void> {
  await root.recover();
  log.info('ready');
}
