import { constants } from 'node:fs';
import { open, readdir, readFile, readlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { run } from './exec.js';
import { configureLoop, freeLoopNumber } from './libc.js';
import { asCodedError } from './space.js';

const deadlineMs = 60_000;

/** Between asking the kernel for a free device and taking it another process may take it: then the next one is tried. */
const mostTries = 64;

export interface LoopDevice {
  /** `/dev/loop0` */
  readonly device: string;
  /** The file it shows, as the kernel knows its path; see {@link LoopDevice.deleted}. */
  readonly image: string;
  /** That file has no name any more, and the device alone keeps its space. `image` is the name it had. */
  readonly deleted: boolean;
  readonly readOnly: boolean;
  /** It goes by itself when its last user does. */
  readonly autoclear: boolean;
}

/** A loop device while this process has it open. */
export interface AttachedLoop {
  readonly device: string;
  /** The device goes as soon as nothing else uses it, a mount for example. */
  release(): Promise<void>;
}

/**
 * Attaches a file to a free loop device, for reading alone. The kernel takes the device away with its last user, be that a mount or this process,
 * however either ends.
 *
 * @throws CodedError `internal` with the kernel's reason
 */
export async function attachLoopDevice(image: string): Promise<AttachedLoop> {
  const opened: FileHandle[] = [];
  const openIt = async (path: string, flags: number) => {
    const handle = await open(path, flags);
    opened.push(handle);
    return handle;
  };
  try {
    const file = await openIt(image, constants.O_RDONLY);
    const control = await openIt('/dev/loop-control', constants.O_RDWR);
    for (let attempt = 1; ; attempt += 1) {
      const device = `/dev/loop${freeLoopNumber(control.fd)}`;
      const loop = await open(device, constants.O_RDONLY);
      try {
        configureLoop(loop.fd, file.fd, image);
        return { device, release: () => loop.close() };
      } catch (error) {
        await loop.close();
        if (errnoOf(error) !== 'EBUSY' || attempt === mostTries) throw error;
      }
    }
  } catch (error) {
    throw asCodedError(error, `attaching ${image} to a loop device`, image);
  } finally {
    for (const handle of opened) await handle.close();
  }
}

/** Every loop device that is attached to a file. */
export async function listLoopDevices(): Promise<LoopDevice[]> {
  const names = (await readdir('/sys/block')).filter((name) => /^loop\d+$/.test(name));
  const found = await Promise.all(names.map(readLoop));
  return found.filter((device) => device !== undefined);
}

const deletedMark = ' (deleted)';

async function readLoop(name: string): Promise<LoopDevice | undefined> {
  const folder = join('/sys/block', name);
  try {
    const image = await read(folder, 'loop/backing_file');
    const deleted = image.endsWith(deletedMark);
    return {
      device: `/dev/${name}`,
      image: deleted ? image.slice(0, -deletedMark.length) : image,
      deleted,
      readOnly: (await read(folder, 'ro')) === '1',
      autoclear: (await read(folder, 'loop/autoclear')) === '1',
    };
  } catch (error) {
    // A device that is free has no such file; ENXIO and ENODEV: it was detached while it was read.
    if (['ENOENT', 'ENXIO', 'ENODEV'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

async function read(folder: string, name: string): Promise<string> {
  return (await readFile(join(folder, name), 'utf8')).replace(/\n$/, '');
}

/**
 * Whether a filesystem stands on a loop device, in whatever mount namespace, or a process has it open: as far as /proc tells,
 * where a process of another user may hide what it has open from anyone but root.
 */
export async function isLoopDeviceInUse(device: string): Promise<boolean> {
  try {
    // Fails with EBUSY while a mount has the device.
    await (await open(device, constants.O_RDONLY | constants.O_EXCL)).close();
  } catch (error) {
    if (errnoOf(error) === 'EBUSY') return true;
    if (['ENOENT', 'ENXIO'].includes(errnoOf(error) ?? '')) return false;
    throw asCodedError(error, `looking whether ${device} is in use`, device);
  }
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    if (await hasOpen(pid, device)) return true;
  }
  return false;
}

async function hasOpen(pid: string, device: string): Promise<boolean> {
  const folder = join('/proc', pid, 'fd');
  // A process, and each of its files, may be gone at any moment.
  for (const name of await readdir(folder).catch(() => [])) {
    if ((await readlink(join(folder, name)).catch(() => '')) === device) return true;
  }
  return false;
}

/** Detaches a loop device now, or, while it is in use, when its last user is gone. */
export async function detachLoopDevice(device: string): Promise<void> {
  await run('losetup', ['--detach', device], { deadlineMs, what: `detaching ${device}` });
}
