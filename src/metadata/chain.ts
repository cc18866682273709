import { CodedError } from '../errors.js';
import { newestFirst, type NewestFirst } from '../vocabulary.js';
import type { Database } from './database.js';
import { abridged } from './keys.js';
import type { CommittedRecord, QuarantinedRecord, SnapshotRecord } from './record.js';
import { parseRecord } from './stored-record.js';

/** A snapshot that others stand on. */
export type ChainLink = CommittedRecord | QuarantinedRecord;

/** The work of `MetadataStore.chain`, on one LevelDB snapshot. */
export async function readChain({ level, snapshots }: Database, key: string): Promise<NewestFirst<ChainLink>> {
  const snapshot = level.snapshot();
  try {
    const chain: ChainLink[] = [];
    const seen = new Set<string>();
    for (let next = key; next !== '';) {
      const text = await snapshots.get(next, { snapshot });
      const found = text === undefined ? undefined : parseRecord(text, abridged(next));
      const child = chain.at(-1);
      const record = child ? checkAncestor(found, next, child, seen.has(next)) : checkFirst(found, next);
      chain.push(record);
      seen.add(next);
      next = record.parent;
    }
    return newestFirst(chain);
  } finally {
    await snapshot.close();
  }
}

/** The first link was named by a caller: what is wrong with it is the caller's to mend. */
function checkFirst(record: SnapshotRecord | undefined, key: string): ChainLink {
  if (record?.kind === 'committed') return record;
  const what = record ? `is ${record.kind}, not committed` : 'does not exist';
  throw new CodedError(record ? 'invalid-argument' : 'not-found', `the snapshot ${abridged(key)} ${what}`, {
    facts: { key },
    next: 'name a committed snapshot',
  });
}

/** The other links were checked when they were made: what is wrong with them is damage. */
function checkAncestor(
  record: SnapshotRecord | undefined,
  key: string,
  child: SnapshotRecord,
  circle: boolean,
): ChainLink {
  if (record?.kind === 'committed' && !circle) return record;
  const what = circle ? 'is its own ancestor' : record ? `is ${record.kind}, not committed` : 'is missing';
  throw new CodedError('data-loss', `the parent ${abridged(key)} of ${abridged(child.key)} ${what}`, {
    facts: { key: child.key, parent: key },
    next: 'remove the snapshots above it and pull the image again',
  });
}
