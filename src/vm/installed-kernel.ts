import { readFile, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { basename, dirname, join } from 'node:path';

import { SnapshotterError } from '../errors.js';
import type { GuestKernel } from './kernel.js';

export interface KernelChoice {
  /** Path of a kernel image; default: the one that this host runs. */
  readonly kernel?: string | undefined;
  /**
   * Folder of its modules: `/lib/modules/<release>` with what depmod wrote, or one as scripts/setup makes it, whose load order
   * lies beside it as `<folder>.order`. Default: found by the kernel's name, or beside it.
   */
  readonly modules?: string | undefined;
}

/**
 * What a guest needs to find its disks and ports, and to mount EROFS, ext4, overlays and live shares. Those that the kernel has
 * built in have no file.
 */
const neededModules = [
  ...['virtio_pci', 'virtio_mmio', 'virtio_blk', 'virtio_console'],
  ...['crc32c_generic', 'ext4', 'erofs', 'overlay', 'fuse', 'virtiofs'],
];

/**
 * Finds the guest's kernel and its modules, in the order to load them. A kernel without any modules folder is taken to have all
 * it needs built in.
 *
 * @throws SnapshotterError `unavailable` when an image or a folder is not where it should be.
 */
export async function findGuestKernel(choice: KernelChoice): Promise<GuestKernel> {
  const vmlinuz = choice.kernel ?? (await runningKernel());
  await requireFile(vmlinuz);
  const folder = choice.modules ?? (await modulesOf(vmlinuz));
  if (folder === undefined) return { vmlinuz, modules: [] };
  const order = `${folder.replace(/\/+$/, '')}.order`;
  if (await isFile(order)) return { vmlinuz, modulesFolder: folder, modulesOrder: order };
  return { vmlinuz, modules: await dependencies(folder) };
}

async function runningKernel(): Promise<string> {
  const name = release();
  const places = [`/lib/modules/${name}/vmlinuz`, `/boot/vmlinuz-${name}`];
  for (const path of places) if (await isFile(path)) return path;
  throw new SnapshotterError('unavailable', `a guest needs a kernel, and there is neither ${places.join(' nor ')}`, {
    facts: { places },
    next: 'name one with --kernel, or as vm.kernel in spfs.toml',
  });
}

/** By the places of distributions; else beside the image. */
async function modulesOf(vmlinuz: string): Promise<string | undefined> {
  const [folder, name] = [dirname(vmlinuz), basename(vmlinuz)];
  const places = [
    ...(name.startsWith('vmlinuz-') ? [`/lib/modules/${name.slice('vmlinuz-'.length)}`] : []),
    folder,
    join(folder, 'modules'),
  ];
  for (const place of places) {
    if ((await isFile(join(place, 'modules.dep'))) || (await isFile(`${place}.order`))) return place;
  }
  return undefined;
}

/** Reads `modules.dep` (modules.dep(5)): `<path>: <paths that it needs>`, all below the folder. */
async function dependencies(folder: string): Promise<readonly string[]> {
  const file = join(folder, 'modules.dep');
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new SnapshotterError('unavailable', `${folder} is not a folder of kernel modules: ${file} cannot be read`, {
      facts: { path: file },
      next: 'run depmod, or name the right folder as vm.modules in spfs.toml',
      cause,
    });
  });
  const needs = new Map<string, readonly string[]>();
  const byName = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [path = '', needed = ''] = line.split(':');
    if (path === '') continue;
    needs.set(
      path,
      needed.split(' ').filter((each) => each !== ''),
    );
    byName.set(nameOf(path), path);
  }
  const order = new Set<string>();
  const add = (path: string, above: readonly string[]) => {
    if (order.has(path) || above.includes(path)) return;
    for (const needed of needs.get(path) ?? []) add(needed, [...above, path]);
    order.add(path);
  };
  for (const name of neededModules) {
    const path = byName.get(name);
    if (path !== undefined) add(path, []);
  }
  return [...order].map((path) => (path.startsWith('/') ? path : join(folder, path)));
}

/** The kernel takes `-` and `_` for the same. */
function nameOf(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

async function requireFile(path: string): Promise<void> {
  if (await isFile(path)) return;
  throw new SnapshotterError('unavailable', `the kernel ${path} is not there, or is not a file`, {
    facts: { path },
    next: 'name a kernel image with --kernel, or as vm.kernel in spfs.toml',
  });
}

async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
