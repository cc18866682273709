import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { silentLogger } from '../../src/log.js';
import { packageRoot } from '../../src/package.js';
import { type Scope, withScope } from '../../src/scope.js';
import { Companion, loadSpfsConfig } from '../../src/spfs/index.js';
import { RigError, tool } from '../rig/process.js';
import { noise } from './layers.js';
import { milliseconds } from './samples.js';
import type { World } from './world.js';

const layerBytes = 1024 * 1024;
const program = join(packageRoot(), 'dist', 'cmd', 'spfs', 'main.js');

/** Stacks of many layers, whose layers are there: what it takes to make disks of them, in time and on the disk. */
export async function benchSpfs(world: World): Promise<void> {
  const layers = world.quick ? 12 : 60;
  await withScope(silentLogger(), async (scope) => {
    const spfs = await openCompanion(scope, world);
    const names = Array.from({ length: layers + 1 }, (_, number) => `bench/layer-${number}`);
    for (const name of names.slice(0, -2)) await importLayer(world, spfs, name);
    const [last = '', other = ''] = names.slice(-2);
    const shared = names.slice(0, -2).join('+');

    const oneLayer = await growth(world, () => importLayer(world, spfs, last));
    await benchStack(world, spfs, `${shared}+${last}`, layers);
    const second = await growth(world, async () => {
      await importLayer(world, spfs, other);
      await openAndClose(world, spfs, `${shared}+${other}`);
    });
    world.results.add('spfs.layer', 'disk that a layer takes', 'bytes', oneLayer);
    world.results.add(
      'spfs.second',
      `disk that a stack takes whose lower ${layers - 1} layers another has`,
      'bytes',
      second,
    );
    await spfs.untag(names, world.signal);
  });
}

async function benchStack(world: World, spfs: Companion, spec: string, layers: number): Promise<void> {
  const { results, rounds } = world;
  const first = await milliseconds(() => openAndClose(world, spfs, spec));
  results.add('spfs.first', `a stack of ${layers} layers to disks, the first time`, 'ms', first);
  for (let round = 0; round < rounds; round++) {
    const again = await milliseconds(() => openAndClose(world, spfs, spec));
    results.add('spfs.open', `a stack of ${layers} layers to disks`, 'ms', again);
    const printed = await milliseconds(() => printMounts(world, spec));
    results.add('spfs.command', `the same as a command, "spfs run --print mounts"`, 'ms', printed);
  }
}

async function openCompanion(scope: Scope, world: World): Promise<Companion> {
  const config = await loadSpfsConfig({ flags: flagsOf(world), environment: environmentOf(world), runs: false });
  const spfs = new Companion({ config, log: silentLogger() });
  scope.defer('spfs', () => spfs.close());
  return spfs;
}

async function importLayer(world: World, spfs: Companion, name: string): Promise<void> {
  const folder = join(homeOf(world), name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name.replaceAll('/', '-')), noise(name, layerBytes));
  await spfs.import({ source: { from: 'directory', path: folder }, tags: [name], signal: world.signal });
}

async function openAndClose({ signal }: World, spfs: Companion, spec: string): Promise<void> {
  const { layers } = await spfs.environment(spec);
  const open = await spfs.open(layers, { signal });
  await open.close();
}

async function printMounts(world: World, spec: string): Promise<void> {
  const { signal } = world;
  const { storageRoot, containerdAddress } = flagsOf(world);
  const env = { ...environmentOf(world), SPFS_STORAGE_ROOT: storageRoot, CONTAINERD_ADDRESS: containerdAddress };
  const { exitCode, stderr } = await tool(program, ['run', spec, '--print', 'mounts'], { signal, env });
  if (exitCode !== 0) throw new RigError(`spfs run --print failed: ${stderr.trim()}`, 'see docs/spfs.md');
}

/** Bytes on the disk that `work` adds below the snapshotter's root; a file with several names counts once. */
async function growth(world: World, work: () => Promise<void>): Promise<number> {
  const before = await used(world);
  await work();
  return (await used(world)) - before;
}

async function used({ rig, signal }: World): Promise<number> {
  const { stdout } = await tool('du', ['--summarize', '--block-size=1', join(rig.root, 'snapshots')], { signal });
  return Number.parseInt(stdout, 10);
}

const homeOf = ({ rig }: World) => join(rig.folder, 'spfs');
const environmentOf = (world: World) => ({ HOME: homeOf(world) });
const flagsOf = (world: World) => ({
  storageRoot: join(homeOf(world), 'store'),
  containerdAddress: world.rig.containerd.address,
});
