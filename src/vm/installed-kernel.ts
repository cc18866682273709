import { readdir, stat } from 'node:fs/promises';
import { release } from 'node:os';
import { basename, dirname, join } from 'node:path';

import { CodedError } from '../errors.js';
import { isKernelImage, releaseOf } from './kernel-image.js';
import type { GuestKernel } from './kernel.js';
import { ModuleTree } from './module-tree.js';

export interface KernelChoice {
  /** Path of a kernel image; default: the one that this host runs, else the newest installed one that serves. */
  readonly kernel?: string;
  /**
   * Folder of its modules: `/lib/modules/<release>` with what depmod wrote, or one as scripts/setup makes it, whose load order
   * lies beside it as `<folder>.order`. Default: found by the kernel's name, or beside it.
   */
  readonly modules?: string;
}

/** Without these, as modules or built in, a guest finds no disks, no ports, or no layers. */
const neededModules = ['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4', 'erofs', 'overlay'];
/** Another bus; checksums, which ext4 asked for by a name that only modprobe knows; live shares. */
const wantedModules = ['virtio_mmio', 'crc32c_generic', 'fuse', 'virtiofs'];
/** See docs/vm.md: since this release EROFS mounts an image that lies with its layers on one disk. */
const leastRelease = [6, 4] as const;

/**
 * Finds the guest's kernel and its modules, in the order to load them. A kernel without any modules folder is taken to have all
 * it needs built in. Nothing is kept: the answer is for the files as they are now.
 *
 * @throws CodedError `unavailable` when an image or a folder is not where it should be, or the kernel lacks what a guest
 *   needs; `invalid-argument` for a file that is no kernel image; `failed-precondition` for a kernel before 6.4, and for an image and modules of different releases.
 */
export async function findGuestKernel(choice: KernelChoice): Promise<GuestKernel> {
  if (choice.kernel !== undefined) return await kernelOf(choice.kernel, choice.modules);
  const running = release();
  const others = (await readdir('/lib/modules').catch(() => [])).filter((name) => name !== running);
  const refused: string[] = [];
  for (const name of [running, ...others.sort(byVersionDescending)]) {
    for (const path of [`/lib/modules/${name}/vmlinuz`, `/boot/vmlinuz-${name}`]) {
      if (!(await isFile(path))) continue;
      try {
        return await kernelOf(path, choice.modules);
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        refused.push(error.message);
      }
    }
  }
  const why = refused.length === 0 ? 'there is none in /boot and /lib/modules' : refused.join('; ');
  throw new CodedError('unavailable', `a guest needs a kernel, and no installed one serves: ${why}`, {
    next: 'install one (Debian: linux-image-cloud-amd64), or name one with --kernel, or as vm.kernel in spfs.toml',
  });
}

async function kernelOf(vmlinuz: string, modules: string | undefined): Promise<GuestKernel> {
  await requireFile(vmlinuz);
  if (!(await isKernelImage(vmlinuz))) {
    throw new CodedError('invalid-argument', `${vmlinuz} is not a kernel image`, {
      facts: { path: vmlinuz },
      next: 'name a kernel image with --kernel, or as vm.kernel in spfs.toml',
    });
  }
  const image = await releaseOf(vmlinuz);
  requireRelease(vmlinuz, image);
  const folder = modules ?? (await modulesOf(vmlinuz));
  if (folder === undefined) return { vmlinuz, modules: [] };
  const order = `${folder.replace(/\/+$/, '')}.order`;
  if (await isFile(order)) return { vmlinuz, modulesFolder: folder, modulesOrder: order };
  const ofModules = /^\d+\.\d+/.test(basename(folder)) ? basename(folder) : undefined;
  requireRelease(vmlinuz, ofModules);
  if (image !== undefined && ofModules !== undefined && image !== ofModules) {
    throw new CodedError(
      'failed-precondition',
      `the kernel ${vmlinuz} is ${image}, but the modules in ${folder} are of ${ofModules}`,
      { facts: { vmlinuz, modules: folder }, next: `name /lib/modules/${image} as its modules` },
    );
  }
  const tree = await ModuleTree.read(folder);
  const lacking = neededModules.filter((name) => tree.lacks(name));
  if (lacking.length > 0) {
    throw new CodedError('unavailable', `the kernel ${vmlinuz} has no ${lacking.join(', ')}`, {
      facts: { vmlinuz, modules: folder },
      next: 'install the package with all of its modules, or name another kernel',
    });
  }
  return { vmlinuz, modules: tree.loadOrder([...neededModules, ...wantedModules]) };
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

/** @param found undefined when it is not known: the guest itself will say so then. */
function requireRelease(vmlinuz: string, found: string | undefined): void {
  const version = /^(\d+)\.(\d+)/.exec(found ?? '');
  if (!version) return;
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major > leastRelease[0] || (major === leastRelease[0] && minor >= leastRelease[1])) return;
  throw new CodedError(
    'failed-precondition',
    `the kernel ${vmlinuz} is ${found}, which cannot mount a merged EROFS disk: ${leastRelease.join('.')} or later is needed`,
    { facts: { vmlinuz }, next: 'name a newer kernel with --kernel, or as vm.kernel in spfs.toml' },
  );
}

async function requireFile(path: string): Promise<void> {
  if (await isFile(path)) return;
  throw new CodedError('unavailable', `the kernel ${path} is not there, or is not a file`, {
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

const byNumber = new Intl.Collator('en', { numeric: true });

function byVersionDescending(one: string, other: string): number {
  return byNumber.compare(other, one);
}
