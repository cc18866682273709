import type { Results } from './results.js';
import type { Unit } from './samples.js';

/** A limit that the project has set itself, and how the number that is held against it comes about. */
interface Bar {
  readonly id: string;
  readonly title: string;
  readonly limit: number;
  /** What the project aims for beyond the limit. */
  readonly aim?: number;
  readonly unit: 'ratio' | Unit;
  /** Measurements that the number is made of. */
  readonly of: readonly string[];
  /** Takes their medians, in that order. */
  readonly value: (...medians: readonly number[]) => number;
}

/** A bar and what was found. Without a `value` there is a reason. */
export interface Verdict extends Omit<Bar, 'value'> {
  readonly value?: number;
  readonly met?: boolean;
  readonly reason?: string;
}

const megabyte = 1e6;
const ratio = (ours = NaN, theirs = NaN) => ours / theirs;
const itself = (value = NaN) => value;

const bars: readonly Bar[] = [
  {
    id: 'pull-erofs',
    title: 'pull, against the built-in erofs',
    limit: 0.6,
    aim: 0.45,
    unit: 'ratio',
    of: ['pull.ours', 'pull.erofs'],
    value: ratio,
  },
  {
    id: 'pull-overlayfs',
    title: 'pull, against overlayfs',
    limit: 0.35,
    unit: 'ratio',
    of: ['pull.ours', 'pull.overlayfs'],
    value: ratio,
  },
  {
    id: 'repull',
    title: 're-pull elsewhere less its fetch, against the first pull',
    limit: 0.05,
    unit: 'ratio',
    of: ['repull.ours', 'repull.fetch', 'pull.ours'],
    value: (again = NaN, fetch = NaN, first = NaN) => Math.max(0, again - fetch) / first,
  },
  {
    id: 'diff',
    title: 'Diff of a ten-file change, against the walking differ',
    limit: 0.05,
    unit: 'ratio',
    of: ['diff.ours', 'diff.walking'],
    value: ratio,
  },
  ...['image', '32', '128'].map((layers): Bar => {
    const title = `merge of ${layers === 'image' ? "the image's" : layers} layers, against bare mkfs.erofs`;
    return {
      id: `merge-${layers}`,
      title,
      limit: 1.2,
      unit: 'ratio',
      of: [`merge.${layers}.ours`, `merge.${layers}.mkfs`],
      value: ratio,
    };
  }),
  {
    id: 'repull-conversions',
    title: 'layers converted by a re-pull elsewhere',
    limit: 0,
    unit: 'count',
    of: ['repull.conversions'],
    value: itself,
  },
  {
    id: 'spfs-open',
    title: 'a cached spfs stack of 60 layers to disks',
    limit: 300,
    unit: 'ms',
    of: ['spfs.open'],
    value: itself,
  },
  {
    id: 'spfs-second',
    title: 'disk of a stack that shares 59 of 60 layers, against one layer',
    limit: 1.5,
    unit: 'ratio',
    of: ['spfs.second', 'spfs.layer'],
    value: ratio,
  },
  {
    id: 'memory-idle',
    title: 'memory of the daemon, idle',
    limit: 90 * megabyte,
    unit: 'bytes',
    of: ['memory.idle'],
    value: itself,
  },
  {
    id: 'memory-peak',
    title: 'memory of the daemon, peak of eight conversions at once',
    limit: 250 * megabyte,
    unit: 'bytes',
    of: ['memory.peak'],
    value: itself,
  },
  {
    id: 'many-stat',
    title: 'Stat with many snapshots, against the same with 10',
    limit: 1.5,
    unit: 'ratio',
    of: ['many.stat.many', 'many.stat.few'],
    value: ratio,
  },
  {
    id: 'many-prepare',
    title: 'Prepare+Remove with many snapshots, against the same with 10',
    limit: 1.5,
    unit: 'ratio',
    of: ['many.prepare.many', 'many.prepare.few'],
    value: ratio,
  },
];

/** Holds every bar against the medians of one run. */
export function judge(results: Results): readonly Verdict[] {
  return bars.map(({ value: compute, ...bar }) => {
    const medians: number[] = [];
    for (const id of bar.of) {
      const found = results.find(id);
      if ('reason' in found) return { ...bar, reason: found.reason };
      medians.push(found.median);
    }
    const value = compute(...medians);
    return { ...bar, value, met: value <= bar.limit };
  });
}
