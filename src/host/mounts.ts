import { readFile, realpath } from 'node:fs/promises';
import { isCode, SnapshotterError } from '../errors.js';
import { run } from './exec.js';

/** Milliseconds that mounting, unmounting or attaching one device may take. */
const deadlineMs = 60_000;

export interface MountPoint {
  readonly target: string;
  readonly type: string;
  readonly source: string;
  /** Path inside the mounted filesystem that is seen at `target`: `/` except for bind mounts. */
  readonly root: string;
  /** Options of the mount, then those of the filesystem. */
  readonly options: readonly string[];
}

interface MountRequest {
  readonly target: string;
  readonly type: string;
  readonly options?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** An image file (served through a loop device), with further image files for `device=` options, oldest first. */
interface ImageMount extends MountRequest {
  readonly image: string;
  readonly devices?: readonly string[];
  /**
   * The image itself may be written, though the mount may not: ext4 replays its journal then. Without it, a journal that a
   * guest left unfinished makes the mount fail, or needs the option `norecovery`.
   */
  readonly replayJournal?: boolean;
}

/** Anything else that the kernel names: a device, a folder, `overlay`. */
interface SourceMount extends MountRequest {
  readonly source: string;
}

/** Nothing that a guest wrote may run, gain rights or open a device here. */
const always = ['ro', 'nodev', 'nosuid', 'noexec'];

/**
 * Mounts something read-only on the host, for as long as its files must be read. Loop devices go by themselves when the mount
 * goes, also after a crash. When it fails nothing is mounted.
 *
 * @throws SnapshotterError of `run`, when the kernel refuses it.
 */
export async function mountReadOnly(o: ImageMount | SourceMount): Promise<void> {
  if (!('image' in o)) return mount(o.source, o, o.options ?? []);
  const attached: string[] = [];
  const attachAs = async (image: string, access: 'read-only' | 'read-write') => {
    const device = await attach(image, access);
    attached.push(device);
    throwIfCancelled(o);
    return device;
  };
  try {
    // A device of its own: mount(8) would take one that is there already, and in use as a part of a merged image.
    const source = await attachAs(o.image, o.replayJournal ? 'read-write' : 'read-only');
    const options = [...(o.options ?? [])];
    for (const device of o.devices ?? []) options.push(`device=${await attachAs(device, 'read-only')}`);
    await mount(source, o, options);
  } catch (error) {
    // Why it was not mounted matters more than that a device stays attached.
    await detach(attached).catch(() => undefined);
    throw error;
  }
  await detach(attached).catch(async (error: unknown) => {
    await unmount(o.target);
    throw error;
  });
}

/** For a device in use, detaching means: when its last user is gone. */
async function detach(devices: readonly string[]): Promise<void> {
  if (devices.length > 0) await run('losetup', ['--detach', ...devices], { deadlineMs });
}

async function mount(source: string, o: MountRequest, options: readonly string[]): Promise<void> {
  const all = [...new Set([...always, ...options])].join(',');
  const args = ['--types', o.type, '--options', all, '--source', source, '--target', o.target];
  try {
    await run('mount', args, { deadlineMs, signal: o.signal, what: `mounting ${source} at ${o.target}` });
  } catch (error) {
    // A program that was stopped may have mounted it a moment before.
    if (!isCode(error, 'internal')) await unmount(o.target).catch(() => undefined);
    throw error;
  }
}

/** Takes no signal: a losetup stopped between attaching and printing would leave a device whose name nobody knows. */
async function attach(image: string, access: 'read-only' | 'read-write'): Promise<string> {
  const args = ['--find', '--show', ...(access === 'read-only' ? ['--read-only'] : []), image];
  const { stdout } = await run('losetup', args, { deadlineMs, what: `attaching ${image} to a loop device` });
  return stdout.trim();
}

function throwIfCancelled({ signal, target }: MountRequest): void {
  if (!signal?.aborted) return;
  const cause: unknown = signal.reason;
  if (cause instanceof SnapshotterError) throw cause;
  throw new SnapshotterError('cancelled', `mounting at ${target} was cancelled`, { facts: { target }, cause });
}

/**
 * Unmounts what is at `target`; does nothing when nothing is mounted there.
 *
 * @throws SnapshotterError `failed-precondition` when it is in use. It is not tried again: whoever uses it decides when.
 */
export async function unmount(target: string): Promise<void> {
  try {
    await run('umount', ['--', target], { deadlineMs, what: `unmounting ${target}` });
  } catch (error) {
    if (!(error instanceof SnapshotterError) || error.code !== 'internal') throw error;
    if (!(await isMountPoint(target))) return;
    if (!/busy/.test(String(error.facts['stderr'] ?? ''))) throw error;
    throw new SnapshotterError('failed-precondition', `${target} cannot be unmounted: a process still uses it`, {
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

/** Everything mounted in this process's namespace, in the order it was mounted. */
export async function listMounts(): Promise<MountPoint[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

/**
 * Reads the format of proc_pid_mountinfo(5): `id parent major:minor root target options [field…] - type source superoptions`.
 */
export function parseMountInfo(text: string): MountPoint[] {
  return text.split('\n').flatMap((line) => {
    const [left, right] = line.split(' - ');
    const [, , , root, target, options] = left?.split(' ') ?? [];
    const [type, source, superOptions] = right?.split(' ') ?? [];
    if (root === undefined || target === undefined || options === undefined) return [];
    if (type === undefined || source === undefined) return [];
    return {
      target: unescape(target),
      type,
      source: unescape(source),
      root: unescape(root),
      options: [...options.split(','), ...(superOptions?.split(',') ?? [])].map(unescape),
    };
  });
}

/** Space, tab, newline and backslash are written as three octal digits. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
