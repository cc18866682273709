import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { unmount } from '../../src/host/index.js';
import type { Scope } from '../../src/scope.js';
import type { Mount } from '../../src/vocabulary.js';
import { snapshotterName } from '../rig/containerd.js';
import { chainId, type Image } from '../rig/oci-layout.js';
import { RigError, tool } from '../rig/process.js';
import { type Rig, startRig } from '../rig/rig.js';
import { BenchClient } from './client.js';
import type { Results } from './results.js';

/** What every benchmark gets. */
export interface World {
  readonly rig: Rig;
  readonly image: Image;
  /** The name to pull the image by. */
  readonly name: string;
  readonly rounds: number;
  readonly quick: boolean;
  readonly signal: AbortSignal;
  readonly results: Results;
  /** Why containerd's built-in erofs snapshotter cannot run here. */
  readonly withoutErofs: string | undefined;
}

/** The options with which containerd's own differ is fastest. */
const builtInOptions = ['-T0', '--mkfs-time', '--sort=none'];

const builtInErofs = `
[plugins.'io.containerd.differ.v1.erofs']
  mkfs_options = ${JSON.stringify(builtInOptions)}
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = 'linux'
  snapshotter = 'erofs'
  differ = 'erofs'
`;

/**
 * Starts the rig with the built-in erofs snapshotter configured, too, where that works: containerd's transfer service fails
 * altogether when a snapshotter that is configured for it did not load.
 */
export async function startWorld(scope: Scope): Promise<Pick<World, 'rig' | 'withoutErofs'>> {
  const start = async (moreConfig?: string) => {
    const rig = await startRig({ moreConfig });
    scope.defer('rig', () => rig.close());
    return rig;
  };
  const plain = await start();
  const reason = await whyNoErofs(plain);
  if (reason !== undefined) return { rig: plain, withoutErofs: reason };
  await plain.close();
  return { rig: await start(builtInErofs), withoutErofs: undefined };
}

async function whyNoErofs({ containerd }: Rig): Promise<string | undefined> {
  const lines = (await containerd.ctr(['plugins', 'ls'])).split('\n').map((line) => line.trim().split(/\s+/));
  for (const kind of ['snapshotter', 'differ']) {
    const found = lines.find(([type, id]) => type === `io.containerd.${kind}.v1` && id === 'erofs');
    if (!found) return `this containerd has no built-in erofs ${kind}`;
    if (found.at(-1) !== 'ok') return `containerd's built-in erofs ${kind} did not load: ${found.at(-1) ?? ''}`;
  }
  return undefined;
}

export function ctr({ rig, signal }: World, args: readonly string[], namespace = 'default'): Promise<string> {
  return rig.containerd.ctr(['--namespace', namespace, ...args], { signal, timeoutMs: 1_800_000 });
}

export async function pull(world: World, snapshotter: string, namespace = 'default'): Promise<void> {
  await ctr(world, ['images', 'pull', '--plain-http', '--snapshotter', snapshotter, world.name], namespace);
}

export async function fetchOnly(world: World, namespace = 'default'): Promise<void> {
  await ctr(world, ['content', 'fetch', '--plain-http', world.name], namespace);
}

/** Removes the image and, through containerd's garbage collection, its content and snapshots; waits until their files are gone. */
export async function forgetImage(world: World, namespaces: readonly string[] = ['default']): Promise<void> {
  for (const namespace of namespaces) {
    const images = await ctr(world, ['images', 'ls', '--quiet'], namespace);
    if (images.includes(world.name)) await ctr(world, ['images', 'rm', '--sync', world.name], namespace);
  }
  const { rig } = world;
  const containerd = join(rig.folder, 'containerd', 'root');
  const folders = [
    join(rig.root, 'snapshots'),
    join(rig.root, 'trash'),
    join(containerd, 'io.containerd.snapshotter.v1.erofs', 'snapshots'),
    join(containerd, 'io.containerd.snapshotter.v1.overlayfs', 'snapshots'),
    join(containerd, 'io.containerd.content.v1.content', 'blobs', 'sha256'),
  ];
  const deadline = Date.now() + 120_000;
  for (const folder of folders) {
    while ((await readdir(folder).catch(() => [])).length > 0) {
      world.signal.throwIfAborted();
      if (Date.now() > deadline)
        throw new RigError(`${folder} is not empty after the image was removed`, 'see what still uses it');
      await sleep(50);
    }
  }
}

/** The name of the image's last snapshot, as the daemon itself knows it. */
export async function imageSnapshot(client: BenchClient, image: Image): Promise<string> {
  const wanted = chainId(image.diffIds);
  const found = (await client.list()).find(({ name, kind }) => kind === 'COMMITTED' && name.endsWith(wanted));
  if (found) return found.name;
  throw new RigError('the daemon does not hold the image that was pulled', 'look at its log');
}

/** A client of containerd, or of the daemon itself. */
export function connect(
  scope: Scope,
  { rig, signal }: World,
  to: 'containerd' | 'daemon',
  snapshotter = snapshotterName,
) {
  const client = new BenchClient(to === 'daemon' ? rig.daemonAddress : rig.containerd.address, snapshotter, signal);
  scope.defer(`client of ${to}`, () => client.close());
  return client;
}

/** Mounts below the rig's folder, writable, until the scope closes. `loop` among the options attaches an image file. */
export async function mountHere(
  scope: Scope,
  world: World,
  { type, source, options }: Omit<Mount, 'target'>,
): Promise<string> {
  const target = join(world.rig.folder, `mounted-${type}`);
  await mkdir(target, { recursive: true });
  const args = ['--types', type, '--options', options.join(','), source, target];
  const { exitCode, stderr } = await tool('mount', args, { signal: world.signal });
  if (exitCode !== 0) throw new RigError(`mounting ${source} failed: ${stderr.trim()}`, 'run the benchmark as root');
  scope.defer(target, () => unmount(target));
  return target;
}

/** A field of /proc/<pid>/status, in bytes. */
export async function memoryOf(pid: number | undefined, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid ?? 'self'}/status`, 'utf8');
  const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
  if (pid === undefined || kibibytes === undefined)
    throw new RigError(`the daemon's ${field} is unknown`, 'see whether it still runs');
  return Number(kibibytes) * 1024;
}
