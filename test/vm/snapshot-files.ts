import { execFile } from 'node:child_process';
import { copyFile, link, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { busybox } from '../../scripts/rig/kernel.js';
import type { Mount } from '../../src/vocabulary.js';

const exec = promisify(execFile);
/**
 * Files as the snapshotter leaves them, made by hand with bare tools, so that the guest is tested apart from the rooms that
 * make them: three layers (busybox and two files; one of them deleted; a directory made opaque), merged, with a descriptor.
 */
export interface SnapshotFiles {
  readonly folder: string;
  /** Oldest first. */
  readonly layers: readonly string[];
  readonly view: readonly Mount[];
  readonly active: readonly Mount[];
  /** The same chain served layer by layer. */
  readonly unmerged: readonly Mount[];
  writableLayer(): Promise<Mount>;
  remove(): Promise<void>;
}

export async function makeSnapshotFiles(): Promise<SnapshotFiles> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const layers = [
    await layer(folder, 0, async (tree) => {
      for (const name of ['bin', 'proc', 'sys', 'dev', 'etc', 'opaque']) await mkdir(join(tree, name));
      await copyFile(busybox, join(tree, 'bin', 'busybox'));
      await symlink('busybox', join(tree, 'bin', 'sh'));
      await link(join(tree, 'bin', 'busybox'), join(tree, 'bin', 'ls'));
      await writeFile(join(tree, 'etc', 'kept'), 'kept\n');
      await writeFile(join(tree, 'etc', 'deleted'), 'deleted\n');
      await writeFile(join(tree, 'opaque', 'old'), 'old\n');
    }),
    await layer(folder, 1, async (tree) => {
      await mkdir(join(tree, 'etc'));
      await writeFile(join(tree, 'etc', '.wh.deleted'), '');
    }),
    await layer(folder, 2, async (tree) => {
      await mkdir(join(tree, 'opaque'));
      await writeFile(join(tree, 'opaque', '.wh..wh..opq'), '');
      await writeFile(join(tree, 'opaque', 'new'), 'new\n');
    }),
  ];
  const fsmeta = join(folder, 'fsmeta.erofs');
  await exec('mkfs.erofs', ['--quiet', '--aufs', '--ovlfs-strip=1', '-T0', '--mkfs-time', fsmeta, ...layers]);
  await writeFile(join(folder, 'merged.vmdk'), await descriptor([fsmeta, ...layers]));
  await writeFile(
    join(folder, 'layers.manifest'),
    layers.map((path) => `blob:${path.slice(folder.length + 1)}\n`).join(''),
  );
  const merged = erofsMount('format/erofs', fsmeta, layers);
  const unmerged = layers.map((path) => erofsMount('erofs', path)).reverse();
  let count = 0;
  const writableLayer = async (): Promise<Mount> => {
    const path = join(folder, `rwlayer-${count++}.img`);
    await makeWritable(folder, path);
    return { type: 'ext4', source: path, target: '', options: ['rw', 'loop'] };
  };
  return {
    folder,
    layers,
    view: [merged],
    active: [merged, await writableLayer()],
    unmerged,
    writableLayer,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

function erofsMount(type: string, source: string, devices: readonly string[] = []): Mount {
  return { type, source, target: '', options: ['ro', 'loop', ...devices.map((path) => `device=${path}`)] };
}

async function layer(folder: string, index: number, fill: (tree: string) => Promise<void>): Promise<string> {
  const tree = join(folder, `tree-${index}`);
  await mkdir(tree);
  await fill(tree);
  const tar = join(folder, `layer-${index}.tar`);
  await exec('tar', ['-C', tree, '-cf', tar, '.']);
  const image = join(folder, `layer-${index}.erofs`);
  await exec('mkfs.erofs', [
    '--tar=f',
    '--aufs',
    '--quiet',
    '-b4096',
    '-Enoinline_data',
    '-T0',
    '--mkfs-time',
    image,
    tar,
  ]);
  return image;
}

async function makeWritable(folder: string, path: string): Promise<void> {
  const tree = join(folder, 'writable');
  await mkdir(join(tree, 'upper'), { recursive: true });
  await mkdir(join(tree, 'work'), { recursive: true });
  await exec('mkfs.ext4', ['-q', '-F', '-b', '4096', '-d', tree, path, '16M']);
}

/** See docs/on-disk.md: one extent a file, since these are small. */
async function descriptor(paths: readonly string[]): Promise<string> {
  let sectors = 0;
  const extents: string[] = [];
  for (const path of paths) {
    const count = (await stat(path)).size / 512;
    extents.push(`RW ${count} FLAT "${path}" 0`);
    sectors += count;
  }
  return [
    '# Disk DescriptorFile',
    'version=1',
    'CID=fffffffe',
    'parentCID=ffffffff',
    'createType="twoGbMaxExtentFlat"',
    ...extents,
    'ddb.virtualHWVersion = "4"',
    `ddb.geometry.cylinders = "${Math.ceil(sectors / (16 * 63))}"`,
    'ddb.geometry.heads = "16"',
    'ddb.geometry.sectors = "63"',
    'ddb.adapterType = "ide"',
    '',
  ].join('\n');
}

/** True when ext4 says that it was unmounted and its journal needs no replay. */
export async function isCleanExt4(image: string): Promise<boolean> {
  const { stdout } = await exec('dumpe2fs', ['-h', image]);
  return /Filesystem state: +clean/.test(stdout) && !/needs_recovery/.test(stdout);
}
