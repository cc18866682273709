import { InvalidArgumentError } from 'commander';

import { benchCommit, benchDiff, benchPrepare } from './containers.js';
import { benchMany } from './many.js';
import { benchMemory } from './memory.js';
import { benchMerge } from './merge.js';
import { benchPull, benchRepull } from './pull.js';
import { benchSpfs } from './spfs.js';
import type { World } from './world.js';

export interface Part {
  readonly title: string;
  readonly run: (world: World) => Promise<void>;
}

/** The benchmarks, in the order in which they run. */
export const parts = {
  pull: { title: 'pull: ours, built-in erofs, overlayfs, fetch only; re-pull in a second namespace', run: benchPull },
  repull: { title: 're-pull in a second namespace', run: benchRepull },
  prepare: { title: 'Prepare and Remove of a container snapshot', run: benchPrepare },
  merge: { title: "merge of the image's, 32 and 128 layers", run: benchMerge },
  diff: { title: 'Diff of a ten-file change', run: benchDiff },
  commit: { title: 'Commit of a ten-file change', run: benchCommit },
  memory: { title: 'memory, idle and with eight conversions at once', run: benchMemory },
  spfs: { title: 'spfs: stacks of 60 layers to disks', run: benchSpfs },
  many: { title: 'Stat, Prepare+Remove and List with many snapshots', run: benchMany },
} as const satisfies Record<string, Part>;

export type PartName = keyof typeof parts;

/** The re-pulls are measured along with the pulls. */
export const allParts = (Object.keys(parts) as PartName[]).filter((name) => name !== 'repull');

/** `pull,merge`. @throws InvalidArgumentError naming what there is. */
export function parseParts(text: string): readonly PartName[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !Object.hasOwn(parts, name));
  if (unknown === undefined) return names as PartName[];
  throw new InvalidArgumentError(
    `There is no benchmark ${JSON.stringify(unknown)}; there are: ${Object.keys(parts).join(', ')}.`,
  );
}

/** @throws InvalidArgumentError unless it is a whole number from 1 to 100. */
export function parseRounds(text: string): number {
  const rounds = /^[0-9]{1,3}$/.test(text) ? Number(text) : NaN;
  if (rounds >= 1 && rounds <= 100) return rounds;
  throw new InvalidArgumentError('Give a whole number from 1 to 100.');
}
