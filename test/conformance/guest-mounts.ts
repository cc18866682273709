import { mkdir, mkdtemp, open, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listLoopDevices, run } from '../../src/host/index.js';
import type { Mount } from '../../src/vocabulary.js';

const deadlineMs = 60_000;

/** Overlay as a guest's kernel mounts it unless it was configured otherwise. */
const plainOverlay = ['redirect_dir=off', 'metacopy=off', 'index=off'];

/**
 * Mounts Mounts answers on this host the way a guest mounts its disks: EROFS with its devices, ext4, and an overlay of both
 * with `upper/` and `work/` of the ext4. Layers stay attached to their loop devices until {@link close}, as they never change.
 */
export class Guest {
  readonly folder: string;
  readonly #devices = new Map<string, string>();
  /** A guest has its disks open: a start takes a device that is not for a leftover. */
  readonly #opened: FileHandle[] = [];
  readonly #undo: (() => Promise<void>)[] = [];
  #count = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<Guest> {
    return new Guest(await mkdtemp(join(tmpdir(), 'erofs-snapshotter-guest-')));
  }

  /** Runs `work` on the root that a guest with these disks sees; all is unmounted when it ends. */
  async in<T>(mounts: readonly Mount[], work: (root: string) => Promise<T>, overlay = plainOverlay): Promise<T> {
    const before = this.#undo.length;
    try {
      return await work(await this.#assemble(mounts, overlay));
    } finally {
      await this.#unwind(before);
    }
  }

  async close(): Promise<void> {
    await this.#unwind(0);
    while (this.#opened.length > 0) await this.#opened.pop()!.close();
    if (this.#devices.size > 0) await run('losetup', ['--detach', ...this.#devices.values()], { deadlineMs });
    this.#devices.clear();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  async #assemble(mounts: readonly Mount[], overlay: readonly string[]): Promise<string> {
    const lowers: string[] = [];
    let writable: string | undefined;
    for (const mount of mounts) {
      if (mount.type === 'bind') return this.#bind(mount);
      if (mount.type === 'ext4') writable = await this.#mount('ext4', mount.source, ['loop', 'rw']);
      else lowers.push(await this.#erofs(mount));
    }
    const [only] = lowers;
    if (writable === undefined && only !== undefined && lowers.length === 1) return only;
    if (lowers.length === 0) lowers.push(await this.#place());
    const layers = [`lowerdir=${lowers.join(':')}`];
    if (writable !== undefined) layers.push(`upperdir=${writable}/upper`, `workdir=${writable}/work`);
    return this.#mount('overlay', 'overlay', [...layers, ...(writable === undefined ? [] : overlay)]);
  }

  async #bind({ source, options }: Mount): Promise<string> {
    const target = await this.#mount(undefined, source, ['bind']);
    if (options.includes('ro')) await run('mount', ['-o', 'remount,bind,ro', target], { deadlineMs });
    return target;
  }

  async #erofs({ type, source, options }: Mount): Promise<string> {
    if (type !== 'erofs' && type !== 'format/erofs') throw new Error(`a guest cannot mount ${type}`);
    const devices: string[] = [];
    for (const option of options) {
      if (option.startsWith('device=')) devices.push(`device=${await this.#attach(option.slice('device='.length))}`);
    }
    return this.#mount('erofs', await this.#attach(source), ['ro', ...devices]);
  }

  async #attach(path: string): Promise<string> {
    const known = this.#devices.get(path);
    if (known !== undefined) return known;
    const { stdout } = await run('losetup', ['--find', '--show', '--read-only', path], { deadlineMs });
    const device = stdout.trim();
    this.#devices.set(path, device);
    this.#opened.push(await open(device, 'r'));
    return device;
  }

  async #mount(type: string | undefined, source: string, options: readonly string[]): Promise<string> {
    const target = await this.#place();
    const typed = type === undefined ? [] : ['-t', type];
    await run('mount', [...typed, '-o', options.join(','), source, target], { deadlineMs });
    this.#undo.push(() => this.#unmount(target, type, source));
    return target;
  }

  /**
   * All writes must be in the image when this returns, and the image free, as when a guest has powered off. The last unmount
   * does that, but a process that was started meanwhile in a mount namespace of its own may hold the filesystem for a moment.
   */
  async #unmount(target: string, type: string | undefined, image: string): Promise<void> {
    if (type === 'ext4') await run('sync', ['--file-system', target], { deadlineMs });
    await patiently(() => run('umount', [target], { deadlineMs }));
    if (type !== 'ext4') return;
    await patiently(async () => {
      const used = (await listLoopDevices()).some((loop) => loop.image === image && loop.autoclear);
      if (used) throw new Error(`the filesystem in ${image} is still mounted somewhere`);
    });
  }

  /** A new, empty folder that the root of a guest may stand on. */
  async #place(): Promise<string> {
    this.#count += 1;
    const place = join(this.folder, String(this.#count));
    await mkdir(place, { mode: 0o755 });
    return place;
  }

  async #unwind(to: number): Promise<void> {
    while (this.#undo.length > to) await this.#undo.pop()!();
  }
}

/** Two seconds at the most. */
async function patiently(work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return;
    } catch (error) {
      if (attempt === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
