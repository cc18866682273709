import { expect } from 'vitest';
import type { Labels } from '../../src/vocabulary.js';
import type { Guest } from './guest-mounts.js';
import { Reference } from './reference.js';
import { settleTimes, snapshotOf, type Tree } from './tree.js';
import type { World } from './world.js';

/** What is done to a mounted tree: a function of its root. */
export type Change = (root: string) => Promise<void>;

/** File times come from a clock that lags behind the one of Date.now() by a tick of the kernel. */
const clockLagMs = 1000;

export const inOrder =
  (...changes: readonly Change[]): Change =>
  async (root) => {
    for (const change of changes) await change(root);
  };

/** Applies `change` as a guest would, and stamps what it changed with times that do not depend on when that was. */
async function changeTree(root: string, change: Change): Promise<void> {
  const since = Date.now() - clockLagMs;
  await change(root);
  await settleTimes(root, since);
}

export interface ChainOptions {
  /** Names of the committed snapshots are this and the number of the layer. */
  readonly name?: string;
  /** Layers (1 for the first) whose trees are compared; all of them when not given. */
  readonly compare?: (layer: number) => boolean;
}

/**
 * Builds a chain, one committed snapshot a change, and compares what a guest sees, before and after the change and in a View of
 * the committed snapshot, with the kernel's overlay on ordinary folders.
 *
 * @returns the names of the committed snapshots, oldest first, and the tree at the end
 */
export async function expectChain(
  world: World,
  guest: Guest,
  changes: readonly Change[],
  { name = 'layer', compare = () => true }: ChainOptions = {},
): Promise<{ names: readonly string[]; tree: Tree }> {
  const reference = await Reference.open();
  const names: string[] = [];
  let tree: Tree = {};
  try {
    for (const [index, change] of changes.entries()) {
      const layer = index + 1;
      await reference.advance();
      const key = `${name}-${layer}-active`;
      const mounts = await world.port.prepare(key, names.at(-1) ?? '', keep);
      const seen = await guest.in(mounts, async (root) => {
        const before = compare(layer) ? await snapshotOf(root) : undefined;
        await changeTree(root, change);
        return { before, after: compare(layer) ? await snapshotOf(root) : undefined };
      });
      const expected = await reference.in(async (root) => {
        const before = compare(layer) ? await snapshotOf(root) : undefined;
        await changeTree(root, change);
        return { before, after: compare(layer) ? await snapshotOf(root) : undefined };
      });
      // A container's root without a parent has no time of its own until something is written to it.
      if (layer > 1) expect(seen.before, `layer ${layer} before its change`).toEqual(expected.before);
      expect(seen.after, `layer ${layer} after its change`).toEqual(expected.after);
      const committed = `${name}-${layer}`;
      await world.port.commit(committed, key, { labels: keep });
      names.push(committed);
      if (expected.after === undefined) continue;
      tree = expected.after;
      expect(await treeOf(world, guest, committed), `a View of layer ${layer}`).toEqual(expected.after);
    }
  } finally {
    await reference.close();
  }
  return { names, tree };
}

const keep: Labels = { 'containerd.io/gc.root': 'conformance' };

/** What a View of a committed snapshot shows; the View is removed again. */
export async function treeOf(world: World, guest: Guest, committed: string): Promise<Tree> {
  const key = `${committed}-view`;
  const mounts = await world.port.view(key, committed);
  try {
    return await guest.in(mounts, snapshotOf);
  } finally {
    await world.port.remove(key);
  }
}
