import { chmod, chown, mkdir, open, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../errors.js';
import { makeFolder, run, temporaryBeside } from '../host/index.js';
import type { RootAttributes } from '../vocabulary.js';
import { exactTimeArguments, formatArguments, mke2fsConfig } from './args.js';

const deadlineMs = 60_000;
/** What an ext4 inode of 256 bytes can hold: 34 bits of seconds, from 1901 to 2446. */
const earliest = -(2n ** 31n);
const latest = 2n ** 34n - 2n ** 31n - 1n;

export interface FormatOptions {
  /** A path where no file is yet. */
  readonly image: string;
  readonly bytes: number;
  readonly root: RootAttributes;
  readonly signal?: AbortSignal;
}

/**
 * Makes a sparse ext4 image with `upper/` and `work/` at its root. `upper/` has the attributes of `root`, since an overlay shows
 * its mode, owner and times as those of `/`.
 */
export async function format(o: FormatOptions): Promise<void> {
  const staging = temporaryBeside(`${o.image}-staging`);
  try {
    await stage(staging, o.root);
    await createSparse(o.image, o.bytes);
    const options = { deadlineMs, signal: o.signal, what: `formatting ${o.image}` };
    const env = { MKE2FS_CONFIG: join(staging, 'mke2fs.conf') };
    await run('mkfs.ext4', formatArguments({ image: o.image, source: join(staging, 'tree') }), { ...options, env });
    await setExactTime(o, options);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function stage(staging: string, root: RootAttributes): Promise<void> {
  const upper = join(staging, 'tree', 'upper');
  const work = join(staging, 'tree', 'work');
  await makeFolder(upper, 0o755);
  await mkdir(work);
  // Modes are set apart from mkdir, which the umask takes bits from; the owner before the mode, since chown clears setuid.
  await chmod(join(staging, 'tree'), 0o755);
  await chmod(work, 0o755);
  await chown(upper, root.uid, root.gid);
  await chmod(upper, root.mode);
  // As a Date: Node takes a negative number for the present.
  const mtime = new Date(Number(clamp(root.mtime)) * 1000);
  await utimes(upper, mtime, mtime);
  await writeFile(join(staging, 'mke2fs.conf'), mke2fsConfig);
}

async function setExactTime(
  o: FormatOptions,
  options: { deadlineMs: number; signal: AbortSignal | undefined; what: string },
) {
  const args = exactTimeArguments({
    image: o.image,
    file: 'upper',
    mtime: clamp(o.root.mtime),
    mtimeNsec: o.root.mtimeNsec,
  });
  if (args === undefined) return;
  // debugfs ends well whatever its command did, and prints its name and version and then only what went wrong.
  const { stderr } = await run('debugfs', args, options);
  const complaint = stderr.split('\n').find((line) => line !== '' && !line.startsWith('debugfs '));
  if (complaint === undefined) return;
  throw new CodedError('internal', `debugfs could not set the time of upper/ in ${o.image}: ${complaint}`, {
    facts: { path: o.image },
  });
}

function clamp(seconds: bigint): bigint {
  if (seconds < earliest) return earliest;
  return seconds > latest ? latest : seconds;
}

/** Creates a file of `bytes` that takes no space yet, for its owner alone. */
async function createSparse(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(bytes);
  } finally {
    await file.close();
  }
}
