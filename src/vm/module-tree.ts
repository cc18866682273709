import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { CodedError } from '../errors.js';

/** What a kernel's modules need of each other, as depmod wrote it; see modules.dep(5) and, for `softdep`, modprobe.d(5). */
export class ModuleTree {
  readonly #folder: string;
  /** By the names of modules: path below the folder, and the names that it needs. */
  readonly #modules = new Map<string, { readonly path: string; readonly needs: readonly string[] }>();
  /** What is better loaded before, when it is there. */
  readonly #wishes = new Map<string, readonly string[]>();
  /** Undefined when the tree has no list of what is built into the kernel. */
  readonly #builtIn: ReadonlySet<string> | undefined;

  /** @throws CodedError `unavailable` when depmod has not run. */
  static async read(folder: string): Promise<ModuleTree> {
    const file = join(folder, 'modules.dep');
    const dependencies = await readFile(file, 'utf8').catch((cause: unknown) => {
      throw new CodedError('unavailable', `${folder} is not a folder of kernel modules: ${file} cannot be read`, {
        facts: { path: file },
        next: 'run depmod, or name the right folder as vm.modules in spfs.toml',
        cause,
      });
    });
    const optional = (name: string) => readFile(join(folder, name), 'utf8').catch(() => undefined);
    return new ModuleTree(folder, dependencies, await optional('modules.softdep'), await optional('modules.builtin'));
  }

  private constructor(folder: string, dependencies: string, soft: string | undefined, builtIn: string | undefined) {
    this.#folder = folder;
    for (const line of dependencies.split('\n')) {
      const [path = '', needed = ''] = line.split(':');
      if (path !== '') this.#modules.set(nameOf(path), { path, needs: words(needed).map(nameOf) });
    }
    for (const line of soft?.split('\n') ?? []) {
      const [, name, wishes = ''] = /^softdep (\S+) .*?pre: (.*?)(?: post:.*)?$/.exec(line) ?? [];
      if (name !== undefined) this.#wishes.set(canonical(name), words(wishes).map(canonical));
    }
    this.#builtIn = builtIn === undefined ? undefined : new Set(builtIn.split('\n').map(nameOf));
  }

  /** Neither a module nor, for all that is known, in the kernel itself. */
  lacks(name: string): boolean {
    return !this.#modules.has(name) && this.#builtIn !== undefined && !this.#builtIn.has(name);
  }

  /** The files of these modules and of all they need, each after what it needs. What is built in has no file. */
  loadOrder(names: readonly string[]): readonly string[] {
    const order: string[] = [];
    const met = new Set<string>();
    const add = (name: string) => {
      const found = this.#modules.get(name);
      if (!found || met.has(name)) return;
      met.add(name);
      for (const other of [...(this.#wishes.get(name) ?? []), ...found.needs]) add(other);
      order.push(found.path.startsWith('/') ? found.path : join(this.#folder, found.path));
    };
    names.forEach(add);
    return order;
  }
}

function words(text: string): readonly string[] {
  return text.split(' ').filter((word) => word !== '');
}

/** `kernel/fs/erofs/erofs.ko.xz` is `erofs`. */
function nameOf(path: string): string {
  return canonical(basename(path).replace(/\.ko(\.\w+)?$/, ''));
}

/** The kernel takes `-` and `_` for the same. */
function canonical(name: string): string {
  return name.replaceAll('-', '_');
}
