import { open, rm, stat } from 'node:fs/promises';
import { isCode, CodedError } from '../errors.js';
import { isLoopDeviceInUse, listLoopDevices, requireTool, run, type RunResult } from '../host/index.js';
import { damagedExt4, readExt4Superblock, type Ext4Superblock } from './superblock.js';

export interface CheckOptions {
  readonly image: string;
  /**
   * Given when a frozen guest still holds the image, which is then not written: a path for a copy of its metadata, in which a
   * journal can be replayed. Without it no guest has the image, and its own journal is replayed.
   */
  readonly copy?: string;
  /** Milliseconds that each step may take. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

/** Bytes of memory that e2fsck may take, and what it may take more for each byte of the image: bitmaps of 8 TiB are large. */
const memoryBytes = 512 * 1024 * 1024;
const memoryShare = 1 / 4096;
/** Seconds since the epoch, in 2100: what a guest whose clock is ahead of this host's has written is no damage. */
const lateClock = '4102444800';

/**
 * Judges an ext4 that a guest wrote, in user space and bounded in time and memory. What is sound here can be mounted.
 *
 * @throws CodedError `data-loss` when it is damaged; `failed-precondition` as {@link readExt4Superblock}, or when the image is
 *   mounted and its journal would be replayed beneath the mount;
 *   `unavailable` when e2fsprogs is not installed; `deadline-exceeded`, `cancelled`
 */
export async function checkGuestExt4(o: CheckOptions): Promise<void> {
  const superblock = await superblockOf(o.image);
  if (o.copy === undefined) {
    await mustNotBeMounted(o.image);
    await replay(o, superblock, o.image);
    await judge(o, superblock, o.image);
    return;
  }
  try {
    await judge(o, superblock, o.image);
  } catch (error) {
    // Files that were deleted while they are open, or a journal, look like damage until the journal is replayed.
    if (!isCode(error, 'data-loss')) throw error;
    await judgeCopy(o, superblock, o.copy);
  }
}

/**
 * e2fsck sees the mounts of its own namespace alone, and would replay a journal that the kernel is writing to. A device that can
 * only be read does not write, and one of ours may go a moment after the read that it was for.
 */
async function mustNotBeMounted(image: string): Promise<void> {
  const { dev, ino } = await stat(image);
  for (const loop of await listLoopDevices()) {
    if (loop.readOnly || loop.deleted) continue;
    const shown = await stat(loop.image).catch(() => undefined);
    if (shown?.dev !== dev || shown.ino !== ino) continue;
    if (await isLoopDeviceInUse(loop.device)) throw inUse(image, `${loop.device} shows it`);
  }
}

function inUse(path: string, how: string): CodedError {
  return new CodedError('failed-precondition', `the writable layer ${path} is in use: ${how}`, {
    facts: { path },
    next: `unmount what "losetup -j ${path}" and "findmnt" show, in whatever mount namespace it is`,
  });
}

async function judgeCopy(o: CheckOptions, superblock: Ext4Superblock, copy: string): Promise<void> {
  try {
    const copied = await bounded(o, superblock, ['e2image', '-r', o.image, copy], 'copying the metadata of');
    if (copied.exitCode !== 0) throw damaged(o.image, 'its metadata cannot be read', copied);
    await replay(o, superblock, copy);
    await judge(o, superblock, copy);
  } finally {
    await rm(copy, { force: true });
  }
}

async function replay(o: CheckOptions, superblock: Ext4Superblock, path: string): Promise<void> {
  const command = ['e2fsck', '-p', '-E', 'journal_only', path];
  const replayed = await bounded(o, superblock, command, 'replaying the journal of');
  if (`${replayed.stdout}${replayed.stderr}`.includes(`${path} is mounted.`)) throw inUse(path, 'it is mounted');
  if (replayed.exitCode > 1) throw damaged(o.image, 'its journal cannot be replayed', replayed);
}

async function judge(o: CheckOptions, superblock: Ext4Superblock, path: string): Promise<void> {
  const checked = await bounded(o, superblock, ['e2fsck', '-f', '-n', path], 'checking', { E2FSCK_TIME: lateClock });
  if (checked.exitCode !== 0) throw damaged(o.image, 'e2fsck finds errors in it', checked);
}

async function superblockOf(image: string): Promise<Ext4Superblock> {
  const file = await open(image, 'r');
  try {
    return await readExt4Superblock(file, image);
  } finally {
    await file.close();
  }
}

async function bounded(
  { image, deadlineMs, signal }: CheckOptions,
  { blocks, blockSize }: Ext4Superblock,
  command: readonly string[],
  doing: string,
  env: Record<string, string> = {},
): Promise<RunResult> {
  const memory = Math.ceil(memoryBytes + blocks * blockSize * memoryShare);
  try {
    return await run('prlimit', [`--as=${memory}`, '--core=0', ...command], {
      deadlineMs,
      signal,
      env: { E2FSCK_CONFIG: '/dev/null', ...env },
      answers: [1, 2, 4, 8, 12],
      what: `${doing} ${image}`,
    });
  } catch (error) {
    // A crash, or more memory than it may take.
    if (isCode(error, 'internal')) {
      await requireTool(command[0] ?? '', 'install e2fsprogs');
      throw damagedExt4(image, `${doing} it failed (${error.message})`, error.facts);
    }
    throw error;
  }
}

function damaged(image: string, what: string, { exitCode, stdout, stderr }: RunResult) {
  const said = `${stdout}${stderr}`.split('\n').filter((line) => !/^(Pass \d|e2fsck |e2image |$)/.test(line));
  return damagedExt4(image, what, { tool: 'e2fsck', exitCode, said: said.slice(0, 10) });
}
