import type { ComparedTree } from '../../layers/index.js';
import { layerXattrs, openFile, seenAs, targetOf, type ComparedNode } from './node.js';

export interface SameOptions {
  readonly left: ComparedTree;
  readonly right: ComparedTree;
  readonly signal: AbortSignal;
}

const second = 1_000_000_000n;
const partBytes = 1024 * 1024;

/** True when a program in either tree could not tell the two nodes apart; what is inside of folders does not count. */
export async function isSameNode(left: ComparedNode, right: ComparedNode, o: SameOptions): Promise<boolean> {
  const [one, other] = [left.stat, right.stat];
  if (one.mode !== other.mode || one.uid !== other.uid || one.gid !== other.gid) return false;
  if (one.mtimeNs !== other.mtimeNs) return false;
  if (!sameXattrs(left, right, o)) return false;
  if (one.isSymbolicLink()) return (await targetOf(left)).equals(await targetOf(right));
  if (one.isCharacterDevice() || one.isBlockDevice()) return one.rdev === other.rdev;
  if (!one.isFile()) return true;
  if (one.size !== other.size) return false;
  // A time to the nanosecond comes from the write itself; whole seconds are what archives keep, and others may share them.
  return one.mtimeNs % second !== 0n || one.size === 0n || sameContent(left, right, o.signal);
}

function sameXattrs(left: ComparedNode, right: ComparedNode, o: SameOptions): boolean {
  const before = layerXattrs(left, seenAs(o.left));
  const now = layerXattrs(right, seenAs(o.right));
  return (
    before.length === now.length &&
    before.every(([name, value], index) => name === now[index]?.[0] && value.equals(now[index][1]))
  );
}

async function sameContent(left: ComparedNode, right: ComparedNode, signal: AbortSignal): Promise<boolean> {
  const one = await openFile(left);
  try {
    const other = await openFile(right);
    try {
      const [before, now] = [Buffer.allocUnsafe(partBytes), Buffer.allocUnsafe(partBytes)];
      for (;;) {
        signal.throwIfAborted();
        const [had, has] = await Promise.all([one.read(before, 0, partBytes), other.read(now, 0, partBytes)]);
        if (had.bytesRead !== has.bytesRead) return false;
        if (had.bytesRead === 0) return true;
        if (!before.subarray(0, had.bytesRead).equals(now.subarray(0, has.bytesRead))) return false;
      }
    } finally {
      await other.close();
    }
  } finally {
    await one.close();
  }
}
