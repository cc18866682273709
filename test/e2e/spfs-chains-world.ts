import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';

import { pack } from 'tar-stream';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { tool } from '../../scripts/rig/process.js';
import { type Rig, type RigOptions, startRig } from '../../scripts/rig/rig.js';
import { connectAsClient, type ContainerdClient } from '../../src/containerd/index.js';
import { listMounts } from '../../src/host/index.js';
import { silentLogger } from '../../src/log.js';
import { Chains } from '../../src/spfs/chains/index.js';
import { importTar, type ImportContext } from '../../src/spfs/import/index.js';
import type { Digest, Mount, OldestFirst } from '../../src/vocabulary.js';

const log = silentLogger();
/** A signal that never aborts. */
export const { signal: never } = new AbortController();
setMaxListeners(0, never);

export function stack(...layers: readonly Digest[]): OldestFirst<Digest> {
  return layers as unknown as OldestFirst<Digest>;
}

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A tar with one text file a name. */
export async function tarOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const tar = pack();
  for (const [name, text] of Object.entries(files)) tar.entry({ name, mtime: new Date(0) }, text);
  tar.finalize();
  const parts: Uint8Array[] = [];
  for await (const part of tar) parts.push(part as Uint8Array);
  return Buffer.concat(parts);
}

export interface Standing {
  readonly parent: string;
  readonly kind: string;
}

/** A rig with a companion's clients. */
export interface ChainsWorld extends Rig {
  readonly client: ContainerdClient;
  readonly chains: Chains;
  readonly context: ImportContext;
  /** Standard output of `ctr -n spfs …`. */
  ctr(...args: readonly string[]): Promise<string>;
  /** Snapshots of namespace `spfs`, by key or name. */
  snapshots(): Promise<ReadonlyMap<string, Standing>>;
  /** What would stay behind in namespace `spfs`: active snapshots, leases of processes, blobs, uploads. */
  unfinished(): Promise<string[]>;
  /** Runs a garbage collection and waits for it. */
  collect(): Promise<void>;
  /** Gives up all that is kept. What lies in the snapshotter's root then, and is mounted below the rig. */
  emptied(): Promise<{ snapshots: string[]; trash: string[]; mounts: string[] }>;
  /** A path for a file of this test. */
  path(name: string): string;
  /** Makes a tar of text files a layer, and keeps it. */
  layer(files: Readonly<Record<string, string>>): Promise<Digest>;
  /** What a mount answer of EROFS images shows: text by path. */
  contents(mounts: readonly Mount[]): Promise<Record<string, string>>;
  /** Layers that the snapshotter has converted since it was started. */
  conversions(): number;
}

export async function startChainsWorld(options: RigOptions = {}): Promise<ChainsWorld> {
  const rig = await startRig(options);
  const client = connectAsClient({ address: rig.containerd.address, defaultNamespace: 'spfs', log });
  const chains = new Chains({ containerd: client, snapshotter: snapshotterName, keeper: () => 'test', log });
  const context = { containerd: client, chains, log, signal: never };
  const folder = await mkdtemp(join(rig.folder, 'test-'));
  const ctr = (...args: readonly string[]) => rig.containerd.ctr(['--namespace', 'spfs', ...args]);
  const lines = async (...args: readonly string[]) => (await ctr(...args)).split('\n').filter((line) => line !== '');
  const rows = async (...args: readonly string[]) =>
    (await lines(...args)).slice(1).map((row) => row.trim().split(/\s+/));
  const snapshots = async () => {
    const found = await rows('snapshots', '--snapshotter', snapshotterName, 'ls');
    const standing = (row: readonly string[]) => ({
      parent: row.length === 3 ? (row[1] ?? '') : '',
      kind: row.at(-1) ?? '',
    });
    return new Map(found.map((row) => [row[0] ?? '', standing(row)]));
  };
  let count = 0;
  return {
    ...rig,
    client,
    chains,
    context,
    ctr,
    snapshots,
    unfinished: async () => {
      const open = [...(await snapshots())].filter(([, { kind }]) => kind !== 'Committed').map(([key]) => key);
      const leases = (await lines('leases', 'ls', '--quiet')).filter((id) => !id.startsWith('spfs-object-'));
      const uploads = (await rows('content', 'active')).map(([ref]) => ref ?? '');
      return [...open, ...leases, ...(await lines('content', 'ls', '--quiet')), ...uploads];
    },
    collect: async () => {
      await ctr('leases', 'create', '--id', 'for-collection');
      await ctr('leases', 'delete', '--sync', 'for-collection');
    },
    emptied: async () => {
      await chains.release(await chains.kept(never), never);
      await chains.collect(never);
      return {
        snapshots: await readdir(join(rig.root, 'snapshots')),
        trash: await readdir(join(rig.root, 'trash')),
        mounts: (await listMounts()).map((mount) => mount.target).filter((target) => target.startsWith(rig.folder)),
      };
    },
    path: (name) => join(folder, name),
    layer: async (files) => {
      const path = join(folder, `layer-${++count}.tar`);
      await writeFile(path, await tarOf(files));
      const { object, release } = await importTar({ ...context, path });
      await chains.keep(object, never);
      await release();
      await rm(path);
      return object.digest;
    },
    contents: (mounts) => contentsOf(mounts, join(folder, `extracted-${++count}`)),
    conversions: () => rig.daemon.log.split('"converted a layer"').length - 1,
    close: async () => {
      client.close();
      await rig.close();
    },
  };
}

async function contentsOf(mounts: readonly Mount[], target: string): Promise<Record<string, string>> {
  const [image] = mounts;
  if (image === undefined || mounts.length > 1) throw new Error(`${mounts.length} mounts are not one image`);
  const devices = image.options.filter((option) => option.startsWith('device=')).map((option) => `--${option}`);
  const extracted = await tool('fsck.erofs', [...devices, `--extract=${target}`, image.source]);
  if (extracted.exitCode !== 0) throw new Error(extracted.stderr);
  const entries = await readdir(target, { recursive: true, withFileTypes: true });
  const texts: Record<string, string> = {};
  for (const entry of entries.filter((each) => each.isFile())) {
    const path = join(entry.parentPath, entry.name);
    texts[relative(target, path)] = await readFile(path, 'utf8');
  }
  await rm(target, { recursive: true });
  return texts;
}
