import { once } from 'node:events';
import { constants, read as readCall } from 'node:fs';
import { open, realpath, stat, type FileHandle } from 'node:fs/promises';
import { delimiter } from 'node:path';
import { promisify } from 'node:util';
import { isCode, CodedError } from '../errors.js';
import { run } from './exec.js';
import { attachLoopDevice, type AttachedLoop } from './loops.js';
import { listMounts } from './mounts.js';
import { makePipe } from './pipes.js';
import { asCodedError } from './space.js';

const read = promisify(readCall);

/** Milliseconds that mounting or unmounting one filesystem may take. */
const deadlineMs = 60_000;

/** The longest time of a child that only holds a namespace: what is mounted in it has deadlines of its own. */
const holdingMs = 7 * 24 * 3600_000;

interface MountRequest {
  /** An existing folder. What it holds stays visible to everybody else. */
  readonly target: string;
  readonly type: string;
  readonly options?: readonly string[];
  readonly signal?: AbortSignal;
}

/**
 * An image file, served through a loop device that cannot write it, with further image files for `device=` options, oldest first.
 */
interface ImageMount extends MountRequest {
  readonly image: string;
  readonly devices?: readonly string[];
}

/** Anything else that the kernel names: a device, a folder, `overlay`. */
interface SourceMount extends MountRequest {
  readonly source: string;
}

/** Nothing that a guest wrote may run, gain rights or open a device here. */
const always = ['ro', 'nodev', 'nosuid', 'noexec'];

/**
 * Read-only mounts that no other process sees: they stand in a mount namespace of their own, which exists for as long as this
 * process has it open. However this process ends, the kernel takes mounts and loop devices away.
 *
 * A mounted filesystem has two names. This process reads it below the path that {@link mountReadOnly} returns, through an open
 * file. Its children that are run with {@link namespace} find it at its `target`; they need that name, since realpath(3) of the
 * other one leads to the host's root.
 */
export class PrivateMounts {
  /** For `RunOptions.mountNamespace`. */
  readonly namespace: string;
  readonly #holder: Holder;
  readonly #namespaceFile: FileHandle;
  readonly #roots: FileHandle[] = [];
  #closed: Promise<void> | undefined;

  private constructor(holder: Holder, namespaceFile: FileHandle) {
    this.#holder = holder;
    this.#namespaceFile = namespaceFile;
    this.namespace = pathOf(namespaceFile);
  }

  /**
   * The namespace begins as a copy of the host's. What the host mounts or unmounts later shows in it too, where the host shares its
   * mounts, as systemd has it; where it does not, guests' disks are left out of the copy, since they would stay busy.
   *
   * @param folder an existing one, below which everything will be mounted
   * @throws CodedError of `run`: without CAP_SYS_ADMIN there is no such namespace
   */
  static async open(folder: string): Promise<PrivateMounts> {
    const holder = await Holder.start();
    try {
      const namespaceFile = await open(`/proc/${holder.pid}/ns/mnt`, constants.O_RDONLY);
      const mounts = new PrivateMounts(holder, namespaceFile);
      await mounts.#leaveOutDisks(folder);
      return mounts;
    } catch (error) {
      await holder.end();
      throw asCodedError(error, 'opening a mount namespace');
    }
  }

  /**
   * Mounts something read-only. When it fails nothing of it is mounted.
   *
   * @returns the path below which this process reads it, until {@link close}: `/proc/<pid>/fd/<n>/`
   * @throws CodedError of `run`, when the kernel refuses it
   */
  async mountReadOnly(o: ImageMount | SourceMount): Promise<string> {
    if ('image' in o) await this.#mountImage(o);
    else await this.#mount(o.source, o, o.options ?? []);
    // With the slash, since without it lstat(2) tells of a link in /proc.
    return `${pathOf(await this.#openRoot(o.target))}/`;
  }

  /** Unmounts all, once. What a child still uses goes with that child. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (const root of this.#roots.reverse()) await root.close();
    await this.#namespaceFile.close();
    await this.#holder.end();
  }

  async #leaveOutDisks(folder: string): Promise<void> {
    const needed = await realPaths([folder, ...(process.env['PATH'] ?? '').split(delimiter)]);
    const disks = (await listMounts(this.#holder.pid)).filter(
      ({ target, type, source, follows }) =>
        !follows &&
        (source.startsWith('/dev/loop') || type === 'overlay' || type.startsWith('fuse')) &&
        !needed.some((path) => path === target || target === '/' || path.startsWith(`${target}/`)),
    );
    if (disks.length === 0) return;
    const targets = disks.map(({ target }) => target).reverse();
    // One of them may have gone with another. What stays is busy for a little longer than the host thinks.
    await run('umount', ['--lazy', '--', ...targets], { deadlineMs, mountNamespace: this.namespace }).catch(
      () => undefined,
    );
  }

  /** An absolute link would lead out of the namespace, so none is followed here; and a folder with nothing on it is not taken. */
  async #openRoot(target: string): Promise<FileHandle> {
    try {
      const real = await realpath(target);
      const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
      const root = await open(`/proc/${this.#holder.pid}/root${real}`, flags);
      this.#roots.push(root);
      if ((await root.stat()).dev !== (await stat(real)).dev) return root;
    } catch (error) {
      throw asCodedError(error, `opening what was mounted at ${target}`, target);
    }
    throw new CodedError('internal', `what was mounted at ${target} cannot be found there`, {
      facts: { target },
    });
  }

  async #mountImage(o: ImageMount): Promise<void> {
    const attached: AttachedLoop[] = [];
    const attach = async (image: string) => {
      const loop = await attachLoopDevice(image);
      attached.push(loop);
      throwIfCancelled(o);
      return loop.device;
    };
    try {
      // A device of its own: mount(8) would take one that is there already, and in use as a part of a merged image.
      const source = await attach(o.image);
      const options = [...(o.options ?? [])];
      for (const device of o.devices ?? []) options.push(`device=${await attach(device)}`);
      await this.#mount(source, o, options);
    } finally {
      for (const loop of attached) await loop.release();
    }
  }

  async #mount(source: string, o: MountRequest, options: readonly string[]): Promise<void> {
    const all = [...new Set([...always, ...options])].join(',');
    const args = ['--types', o.type, '--options', all, '--source', source, '--target', o.target];
    const { namespace: mountNamespace } = this;
    const what = `mounting ${source} at ${o.target}`;
    try {
      await run('mount', args, { deadlineMs, signal: o.signal, mountNamespace, what });
    } catch (error) {
      // A program that was stopped may have mounted it a moment before.
      if (!isCode(error, 'internal')) {
        await run('umount', ['--', o.target], { deadlineMs, mountNamespace }).catch(() => undefined);
      }
      throw error;
    }
  }
}

/** A child that lives in a new mount namespace until its input ends: with this process, at the latest. */
class Holder {
  readonly pid: number;
  readonly #end: () => Promise<void>;

  private constructor(pid: number, end: () => Promise<void>) {
    this.pid = pid;
    this.#end = end;
  }

  /** It is in its namespace once it repeats what it was told. */
  static async start(): Promise<Holder> {
    const { reader, writer } = makePipe();
    let pid: number | undefined;
    const held = new AbortController();
    const running = run('unshare', ['--mount', '--propagation', 'slave', '--', 'cat'], {
      deadlineMs: holdingMs,
      what: 'making a mount namespace',
      stdout: writer.fd,
      onStart: (started) => {
        pid = started;
        writer.close();
      },
      feed: async (write, gone) => {
        await write(Buffer.from('\n'));
        const over = AbortSignal.any([gone, held.signal]);
        if (!over.aborted) await once(over, 'abort');
      },
    });
    running.catch(() => undefined); // heard below
    try {
      const { bytesRead } = await read(reader.fd, Buffer.alloc(1), 0, 1, null);
      if (bytesRead === 0 || pid === undefined) {
        await running;
        throw new CodedError('internal', 'a mount namespace ended before it was used');
      }
    } finally {
      reader.close();
    }
    return new Holder(pid, async () => {
      held.abort();
      // It may have been killed, which nothing depends on: the namespace is held by an open file.
      await running.catch(() => undefined);
    });
  }

  end(): Promise<void> {
    return this.#end();
  }
}

async function realPaths(paths: readonly string[]): Promise<string[]> {
  return Promise.all(paths.map((path) => realpath(path).catch(() => path)));
}

function pathOf({ fd }: { readonly fd: number }): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

function throwIfCancelled({ signal, target }: MountRequest): void {
  if (!signal?.aborted) return;
  const cause: unknown = signal.reason;
  if (cause instanceof CodedError) throw cause;
  throw new CodedError('cancelled', `mounting at ${target} was cancelled`, { facts: { target }, cause });
}
