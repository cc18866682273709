import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { errnoOf, CodedError } from '../errors.js';
import { manifestLine } from '../layers/index.js';
import type { Mount } from '../vocabulary.js';

/** What the disks make up, and how their serials begin, so that two answers in one guest stay apart. */
export type DiskPlace = 'root' | 'stack';

/** What the guest does with a disk: the whole chain in one, one layer of a chain, or the container's own layer. */
export type DiskRole = 'merged' | 'layer' | 'writable';

export interface Disk {
  readonly place: DiskPlace;
  readonly role: DiskRole;
  /** Absolute path of the image or of the VMDK descriptor. */
  readonly path: string;
  readonly format: 'raw' | 'vmdk';
  readonly readOnly: boolean;
  /** How the guest finds it: a virtio serial, at most 20 bytes. */
  readonly serial: string;
}

/**
 * The disks that a Mounts answer stands for, in its order: layers newest first, the writable one last.
 *
 * @throws CodedError `invalid-argument` for an answer that is not a guest's (a bind, a foreign type, the writable mount
 *   not last), `not-found` when a file is missing, `data-loss` when `layers.manifest` and the `device=` options disagree.
 */
export async function disksFromMounts(mounts: readonly Mount[], place: DiskPlace = 'root'): Promise<readonly Disk[]> {
  const last = mounts.length - 1;
  const disks = await Promise.all(mounts.map((mount, index) => diskOf(mount, index, index === last, place)));
  if (disks.length === 0) throw refused('the Mounts answer is empty');
  if (disks.length > 1 && disks.slice(1).some((disk) => disk.role === 'merged')) {
    throw refused('the Mounts answer has format/erofs after another mount');
  }
  if (disks[0]?.role === 'merged' && disks.some((disk) => disk.role === 'layer')) {
    throw refused('the Mounts answer has both format/erofs and erofs');
  }
  for (const disk of disks) await requireFile(disk.path);
  return disks;
}

const serialPrefix = { root: 'erofs', stack: 'spfs' } satisfies Record<DiskPlace, string>;

async function diskOf(mount: Mount, index: number, isLast: boolean, place: DiskPlace): Promise<Disk> {
  const prefix = serialPrefix[place];
  if (!mount.source.startsWith('/'))
    throw refused(`mount source ${JSON.stringify(mount.source)} is not an absolute path`);
  switch (mount.type) {
    case 'format/erofs':
      return {
        place,
        role: 'merged',
        path: await descriptorBeside(mount),
        format: 'vmdk',
        readOnly: true,
        serial: `${prefix}-merged`,
      };
    case 'erofs':
      return {
        place,
        role: 'layer',
        path: mount.source,
        format: 'raw',
        readOnly: true,
        serial: `${prefix}-layer-${index}`,
      };
    case 'ext4':
      if (place === 'stack')
        throw refused('the Mounts answer of the stack has a writable layer', 'give that of a View');
      if (!isLast) throw refused('the writable ext4 mount is not the last of the Mounts answer');
      return {
        place,
        role: 'writable',
        path: mount.source,
        format: 'raw',
        readOnly: mount.options.includes('ro'),
        serial: `${prefix}-writable`,
      };
    default:
      throw refused(`a guest cannot use a mount of type ${JSON.stringify(mount.type)}`);
  }
}

/** `merged.vmdk` beside the merged image, after the manifest beside it was found to list the devices of the answer. */
async function descriptorBeside(mount: Mount): Promise<string> {
  const folder = dirname(mount.source);
  const manifest = join(folder, 'layers.manifest');
  const devices = mount.options.filter((option) => option.startsWith('device='));
  const expected = devices.map((option) => manifestLine(basename(option.slice('device='.length))));
  const lines = (await readText(manifest)).split('\n').filter((line) => line !== '');
  const wrong = lines.length > expected.length ? expected.length : expected.findIndex((line, at) => lines[at] !== line);
  if (wrong !== -1) {
    throw new CodedError(
      'data-loss',
      `line ${wrong + 1} of ${manifest} is ${JSON.stringify(lines[wrong] ?? '')}, ` +
        `but the device= options of the answer give ${JSON.stringify(expected[wrong] ?? '')}`,
      { facts: { manifest }, next: 'remove the snapshot and pull the image again' },
    );
  }
  return join(folder, 'merged.vmdk');
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw missing(path, error);
  }
}

async function requireFile(path: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    throw missing(path, error);
  });
  if (!found.isFile()) throw refused(`${path} is not a regular file`);
}

function missing(path: string, cause: unknown): CodedError {
  const why = errnoOf(cause) === 'ENOENT' ? 'is missing' : 'cannot be read';
  return new CodedError('not-found', `${path} ${why}, though the Mounts answer needs it`, {
    facts: { path },
    next: 'ask for the mounts again, or remove the snapshot and pull the image again',
    cause,
  });
}

function refused(message: string, next = 'give the answer for a View or an Active snapshot'): CodedError {
  return new CodedError('invalid-argument', message, { next });
}
