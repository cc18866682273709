import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { isCode, CodedError } from '../../errors.js';
import { checkGuestExt4, extractFolder } from '../../ext4/index.js';
import {
  lockImage,
  makeFolder,
  removeTree,
  requireFreeBytes,
  temporaryBeside,
  type PrivateMounts,
} from '../../host/index.js';
import { mostHoleBytes, overlayNotes, type Upper } from '../../layers/index.js';
import type { Scope } from '../../scope.js';
import { mustBeUpperFolder } from './upper.js';
import type { SnapshotFolder } from '../paths.js';

/** Who reads what guests wrote: this host's kernel, by a mount, or this program, which copies it. */
export type GuestDisks = 'kernel' | 'isolated';

export interface MountUpperOptions {
  /** The runtime has frozen the guest's filesystem: it is read beside QEMU, without a lock and without replaying its journal. */
  readonly quiesced: boolean;
  readonly guestDisks: GuestDisks;
  readonly signal?: AbortSignal;
}

/** Milliseconds that replaying the journal, or checking the filesystem, may take: a sound one of 16 GiB takes less than one second. */
const checkMs = 120_000;

/** A folder of a filesystem that is mounted for a while, by its two names; see {@link PrivateMounts}. */
export interface MountedFolder {
  /** For this process. */
  readonly path: string;
  /** For children that run in the mounts' namespace, and for overlays there. */
  readonly inside: string;
}

/**
 * Mounts what a guest wrote, read-only and until the scope ends. Callers hold the snapshot's key, since there is one
 * mount point.
 *
 * @returns `upper/` in the ext4 image
 * @throws CodedError `failed-precondition` when a virtual machine has the image open, or it has no `upper/`; `data-loss`
 *   when its ext4 is damaged
 */
export async function mountUpper(
  scope: Scope,
  mounts: PrivateMounts,
  folder: SnapshotFolder,
  { quiesced, guestDisks, signal }: MountUpperOptions,
): Promise<Upper & MountedFolder> {
  if (!quiesced) {
    const lock = await lockImage(folder.writable);
    scope.defer('lock of the writable layer', () => lock.release());
  }
  await makeFolder(folder.mountPoint, 0o700);
  scope.defer('mount point of the writable layer', () => removeTree(folder.mountPoint));
  await checkGuestExt4({
    image: folder.writable,
    ...(quiesced ? { copy: temporaryBeside(`${folder.writable}-metadata`) } : {}),
    deadlineMs: checkMs,
    signal,
  });
  const { size, blocks } = await stat(folder.writable);
  const found = async (path: string, inside: string) => {
    await mustBeUpperFolder(path);
    return { path, inside, notes: await overlayNotes(path), mostHoleBytes: mostHoleBytes(size) };
  };
  if (guestDisks === 'isolated') {
    const target = temporaryBeside(folder.mountPoint);
    await requireFreeBytes(folder.path, blocks * 512, `a copy of what is in ${folder.writable}`);
    scope.defer('copy of the writable layer', () => removeTree(target));
    await extractFolder({ image: folder.writable, name: basename(folder.mountedUpper), target, signal });
    return found(target, target);
  }
  // The lock is held until nothing is mounted any more.
  scope.defer('mount of the writable layer', () => mounts.close());
  const root = await mounts
    .mountReadOnly({
      image: folder.writable,
      target: folder.mountPoint,
      type: 'ext4',
      // A link that a guest planted must not lead the reader to files of the host; its superblock may say `errors=panic`.
      options: ['nosymfollow', 'errors=continue', 'norecovery'],
      signal,
    })
    .catch((error: unknown) => {
      throw damagedExt4(error, folder.writable);
    });
  return found(join(root, basename(folder.mountedUpper)), folder.mountedUpper);
}

/** What mount(8) says of an image that the kernel read and refused. */
const refused = /bad superblock|Structure needs cleaning|Bad message|can't read superblock|Input\/output error/;

function damagedExt4(error: unknown, path: string): unknown {
  if (!isCode(error, 'internal') || !refused.test(String(error.facts['stderr'] ?? ''))) return error;
  return new CodedError('data-loss', `the writable layer ${path} cannot be mounted: its ext4 is damaged`, {
    facts: { ...error.facts, path },
    next: `look at it with "e2fsck -n ${path}", and copy from it what can be saved`,
    cause: error,
  });
}
