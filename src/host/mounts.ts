import { readFile, realpath } from 'node:fs/promises';
import { CodedError } from '../errors.js';
import { run } from './exec.js';

/** Milliseconds that unmounting may take. */
const deadlineMs = 60_000;

export interface MountPoint {
  readonly target: string;
  readonly type: string;
  readonly source: string;
  /** Path inside the mounted filesystem that is seen at `target`: `/` except for bind mounts. */
  readonly root: string;
  /** What the host unmounts goes here too: the mount is a slave of one in another namespace. */
  readonly follows: boolean;
  /** Options of the mount, then those of the filesystem. */
  readonly options: readonly string[];
}

/**
 * Unmounts what is at `target`; does nothing when nothing is mounted there.
 *
 * @throws CodedError `failed-precondition` when it is in use. It is not tried again: its users decide when it ends.
 */
export async function unmount(target: string): Promise<void> {
  try {
    await run('umount', ['--', target], { deadlineMs, what: `unmounting ${target}` });
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'internal') throw error;
    if (!(await isMountPoint(target))) return;
    if (!/busy/.test(String(error.facts['stderr'] ?? ''))) throw error;
    throw new CodedError('failed-precondition', `${target} cannot be unmounted: a process still uses it`, {
      facts: { target },
      next: `find that process with \`fuser -vm ${target}\``,
      cause: error,
    });
  }
}

async function isMountPoint(target: string): Promise<boolean> {
  const real = await realpath(target).catch(() => target);
  return (await listMounts()).some((mounted) => mounted.target === real);
}

/** Everything mounted in the namespace of a process, this one unless it is given, in the order it was mounted. */
export async function listMounts(pid: number | 'self' = 'self'): Promise<MountPoint[]> {
  return parseMountInfo(await readFile(`/proc/${pid}/mountinfo`, 'utf8'));
}

/**
 * Reads the format of proc_pid_mountinfo(5): `id parent major:minor root target options [field…] - type source superoptions`.
 */
export function parseMountInfo(text: string): MountPoint[] {
  return text.split('\n').flatMap((line) => {
    const [left, right] = line.split(' - ');
    const [, , , root, target, options, ...fields] = left?.split(' ') ?? [];
    const [type, source, superOptions] = right?.split(' ') ?? [];
    if (root === undefined || target === undefined || options === undefined) return [];
    if (type === undefined || source === undefined) return [];
    return {
      target: unescape(target),
      type,
      source: unescape(source),
      root: unescape(root),
      follows: fields.some((field) => field.startsWith('master:')),
      options: [...options.split(','), ...(superOptions?.split(',') ?? [])].map(unescape),
    };
  });
}

/** Space, tab, newline and backslash are written as three octal digits. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
