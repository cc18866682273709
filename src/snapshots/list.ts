import { setImmediate } from 'node:timers/promises';
import { byBytes, compileFilters, refAskedFor, type SnapshotRecord } from '../metadata/index.js';
import { nanosecondsOf } from '../timestamps.js';
import type { Labels } from '../vocabulary.js';
import type { Context } from './context.js';
import { mayBeAdopted } from './sharing.js';

/** What Stat and List answer about a snapshot. */
export interface SnapshotInfo {
  /** The key of an active snapshot or a view, the name of a committed one. */
  readonly name: string;
  /** Empty when there is none. */
  readonly parent: string;
  readonly kind: SnapshotRecord['kind'];
  readonly labels: Labels;
  /** Nanoseconds since the epoch. */
  readonly createdAt: bigint;
  readonly updatedAt: bigint;
}

export function infoOf(record: SnapshotRecord): SnapshotInfo {
  return {
    name: record.key,
    parent: record.parent,
    kind: record.kind,
    labels: record.labels,
    createdAt: nanosecondsOf(record.createdAt),
    updatedAt: nanosecondsOf(record.updatedAt),
  };
}

/** Milliseconds after which a long List lets other calls have their turn. */
const turnMs = 10;

/**
 * Every snapshot that one of the filters selects, ordered by name.
 *
 * containerd's question for what it may adopt, one filter for a chain ID and a parent, is answered with what a Prepare with that
 * chain ID would find, and nothing that is damaged or another namespace's own.
 *
 * @throws CodedError `invalid-argument` for a filter that cannot be parsed, before the first one is given;
 *   `deadline-exceeded` when matching the filters' patterns takes too long
 */
export async function* listSnapshots(
  context: Context,
  filters: readonly string[],
  namespace: string | undefined,
): AsyncIterable<SnapshotInfo> {
  const selects = compileFilters(filters);
  const asked = filters.map(refAskedFor);
  const only = asked.length === 1 && asked[0]?.parent !== undefined ? asked[0].ref : undefined;
  let turnBegan = performance.now();
  for await (const record of candidates(context, asked)) {
    if (performance.now() - turnBegan > turnMs) {
      await setImmediate();
      turnBegan = performance.now();
    }
    const info = infoOf(record);
    if (!selects(info)) continue;
    const hidden =
      only !== undefined && record.kind === 'committed' && !(await mayBeAdopted(context, record, only, namespace));
    if (!hidden) yield info;
  }
}

/** All records, or those alone that carry one of the chain IDs when each filter asks for one. */
async function* candidates(
  { store }: Context,
  asked: readonly ({ readonly ref: string } | undefined)[],
): AsyncIterable<SnapshotRecord> {
  if (asked.length === 0 || asked.includes(undefined)) {
    yield* store.all();
    return;
  }
  const refs = new Set(asked.flatMap((one) => (one ? [one.ref] : [])));
  const found = (await Promise.all([...refs].map((ref) => store.withRef(ref)))).flat();
  yield* found.sort((one, other) => byBytes(one.key, other.key));
}
