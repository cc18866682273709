import { chmod, chown, lstat, mkdir, mkdtemp, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/host/index.js';

const deadlineMs = 60_000;

/**
 * What a chain should look like: the kernel's overlay on ordinary folders, one folder a layer. A new layer's folder starts with
 * the mode, owner and time of the root below it.
 */
export class Reference {
  readonly #folder: string;
  #layers = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(): Promise<Reference> {
    const folder = await mkdtemp(join(tmpdir(), 'erofs-reference-'));
    for (const name of ['below', 'merged']) await mkdir(join(folder, name));
    return new Reference(folder);
  }

  /** Starts the next layer on top of those before. */
  async advance(): Promise<void> {
    const below = this.#layers === 0 ? undefined : await lstat(this.#path(this.#layers));
    this.#layers += 1;
    const upper = this.#path(this.#layers);
    await mkdir(upper);
    await mkdir(join(this.#folder, `work-${this.#layers}`));
    await chmod(upper, below ? below.mode & 0o7777 : 0o755);
    await chown(upper, below?.uid ?? 0, below?.gid ?? 0);
    await utimes(upper, below ? below.mtimeMs / 1000 : 0, below ? below.mtimeMs / 1000 : 0);
  }

  /** Runs `work` on the merged tree, whose newest layer takes the changes. */
  async in<T>(work: (root: string) => Promise<T>): Promise<T> {
    const target = join(this.#folder, 'merged');
    // Relative to the folder: all options together must fit in one page.
    const lowers = Array.from({ length: this.#layers - 1 }, (_, index) => String(this.#layers - 1 - index));
    const layers = `lowerdir=${[...lowers, 'below'].join(':')},upperdir=${this.#layers},workdir=work-${this.#layers}`;
    const options = `${layers},redirect_dir=off,metacopy=off,index=off`;
    await run('mount', ['-t', 'overlay', '-o', options, 'overlay', target], { deadlineMs, cwd: this.#folder });
    try {
      return await work(target);
    } finally {
      await run('umount', [target], { deadlineMs });
    }
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  #path(layer: number): string {
    return join(this.#folder, String(layer));
  }
}
