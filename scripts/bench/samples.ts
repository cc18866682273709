/** What a number counts; a memory size is in bytes, a time in milliseconds. */
export type Unit = 'ms' | 'bytes' | 'count';

/** One thing that was measured, once a round. */
export interface Measurement {
  /** `<benchmark>.<what>[.<contender>]` */
  readonly id: string;
  readonly title: string;
  readonly unit: Unit;
  readonly samples: readonly number[];
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** @throws RangeError without samples: there is no number to show then. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new RangeError('the median of nothing');
  return (upper + lower) / 2;
}

export function spread(samples: readonly number[]): Spread {
  return { median: median(samples), min: Math.min(...samples), max: Math.max(...samples) };
}

/** The contenders of one round, in an order that moves on by one a round: none always comes first or after the same one. */
export function rotated<T>(contenders: readonly T[], round: number): readonly T[] {
  const start = contenders.length === 0 ? 0 : round % contenders.length;
  return [...contenders.slice(start), ...contenders.slice(0, start)];
}

/** Milliseconds that `work` took. @throws what it throws. */
export async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
