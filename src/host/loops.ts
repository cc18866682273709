import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { run } from './exec.js';

const deadlineMs = 60_000;

export interface LoopDevice {
  /** `/dev/loop0` */
  readonly device: string;
  /** The file it shows, as the kernel knows its path. */
  readonly image: string;
}

/** Every loop device that is attached to a file. */
export async function listLoopDevices(): Promise<LoopDevice[]> {
  const names = (await readdir('/sys/block')).filter((name) => /^loop\d+$/.test(name));
  const found = await Promise.all(
    names.map(async (name) => ({ device: `/dev/${name}`, image: await backingFile(name) })),
  );
  return found.flatMap(({ device, image }) => (image === undefined ? [] : [{ device, image }]));
}

/** Detaches a loop device now, or, while it is in use, when its last user is gone. */
export async function detachLoopDevice(device: string): Promise<void> {
  await run('losetup', ['--detach', device], { deadlineMs, what: `detaching ${device}` });
}

async function backingFile(name: string): Promise<string | undefined> {
  try {
    return (await readFile(join('/sys/block', name, 'loop', 'backing_file'), 'utf8')).replace(/\n$/, '');
  } catch (error) {
    // A device that is free has no such file; ENXIO and ENODEV: it was detached while it was read.
    if (['ENOENT', 'ENXIO', 'ENODEV'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
