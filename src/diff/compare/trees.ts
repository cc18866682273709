import type { ComparedTree } from '../../layers/index.js';
import type { Changes } from './changes.js';
import { HardLinks } from './hard-links.js';
import { childrenOf, joined, nodeAt, type ComparedNode, type Path } from './node.js';
import { isSameNode } from './same.js';

export interface TreesOptions {
  readonly left: ComparedTree;
  readonly right: ComparedTree;
  readonly signal: AbortSignal;
}

/** Compares two trees, and says what makes left into right. Nothing is opaque: what is gone is named, one by one. */
export async function* changesBetween(o: TreesOptions): Changes {
  const comparison = new Comparison(o);
  await comparison.run();
  for (const [path, kind] of comparison.inOrder()) {
    if (kind === 'gone') yield { kind, path };
    else yield { kind, path, node: await nodeAt(joined(Buffer.from(o.right.path), path)), opaque: false };
  }
}

type Kind = 'present' | 'gone';

class Comparison {
  readonly #options: TreesOptions;
  /** By the bytes of the path, as latin1. Only what changed is kept, so memory does not grow with the trees. */
  readonly #changed = new Map<string, Kind>();
  readonly #links = new HardLinks();

  constructor(options: TreesOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { left, right } = this.#options;
    const roots = [await nodeAt(Buffer.from(left.path)), await nodeAt(Buffer.from(right.path))] as const;
    await this.#visit(Buffer.alloc(0), ...roots);
    for (const path of this.#links.regrouped()) this.#changed.set(path, 'present');
    for (const path of [...this.#changed.keys()]) {
      // A layer holds a file of several names under all of them, or a reader of the layer would separate them.
      if (this.#changed.get(path) === 'present') {
        for (const other of this.#links.namesOf(path)) this.#changed.set(other, 'present');
      }
    }
    for (const path of [...this.#changed.keys()]) this.#addFoldersOf(path);
  }

  /** Parents before children, names in the order of their bytes. */
  *inOrder(): Generator<readonly [Path, Kind]> {
    const key = (path: string) => path.replaceAll('/', '\0');
    const paths = [...this.#changed.keys()].sort((one, other) => (key(one) < key(other) ? -1 : 1));
    for (const path of paths) yield [Buffer.from(path, 'latin1'), this.#changed.get(path) ?? 'present'];
  }

  async #visit(path: Path, left: ComparedNode | undefined, right: ComparedNode | undefined): Promise<void> {
    this.#options.signal.throwIfAborted();
    const name = path.toString('latin1');
    if (!right) {
      this.#changed.set(name, 'gone');
      return;
    }
    this.#links.add(name, left, right);
    if (!left || !(await isSameNode(left, right, this.#options))) this.#changed.set(name, 'present');
    if (!right.stat.isDirectory()) return;
    const before = left?.stat.isDirectory() ? left : undefined;
    for await (const [child, ours, theirs] of pairedChildren(before, right)) {
      await this.#visit(joined(path, child), ours, theirs);
    }
  }

  #addFoldersOf(path: string): void {
    for (let at = path; at !== '';) {
      at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
      if (this.#changed.has(at)) return;
      this.#changed.set(at, 'present');
    }
  }
}

type Pair = readonly [name: Path, left: ComparedNode | undefined, right: ComparedNode | undefined];

/** The names of both folders, each once, in order. */
async function* pairedChildren(left: ComparedNode | undefined, right: ComparedNode): AsyncGenerator<Pair> {
  const lefts = left ? childrenOf(left.place) : undefined;
  const rights = childrenOf(right.place);
  const next = async (children: typeof rights | undefined) => {
    const step = await children?.next();
    return step === undefined || step.done ? undefined : step.value;
  };
  let [one, other] = [await next(lefts), await next(rights)];
  while (one ?? other) {
    const order = !one ? 1 : !other ? -1 : Buffer.compare(one[0], other[0]);
    const name = (order <= 0 ? one : other)?.[0] ?? Buffer.alloc(0);
    yield [name, order <= 0 ? one?.[1] : undefined, order >= 0 ? other?.[1] : undefined];
    if (order <= 0) one = await next(lefts);
    if (order >= 0) other = await next(rights);
  }
}
