import { CanonicalTar } from '../../src/diff/tar/canonical.js';
import { FirstPass, SecondPass, type Pass } from '../../src/diff/tar/passes.js';
import { TarReader } from '../../src/diff/tar/reader.js';
import type { Implied } from '../../src/erofs/index.js';

export interface Canonical {
  /** What mkfs.erofs is given. */
  readonly bytes: Buffer;
  readonly implied: Implied;
  /** Whether it took two passes. */
  readonly isOdd: boolean;
}

/** What becomes of a layer's tar on its way to mkfs.erofs, read in parts of that size. @throws what refuses it */
export function canonical(tar: Buffer, partBytes = tar.length): Canonical {
  const written: Buffer[] = [];
  const output = new CanonicalTar((bytes) => written.push(Buffer.from(bytes)));
  const first = new FirstPass(output);
  const implied = run(tar, first, partBytes);
  if (!first.isOdd) return { bytes: Buffer.concat(written), implied, isOdd: false };
  written.length = 0;
  const second = new SecondPass(first.tree, output);
  second.begin();
  return { implied: run(tar, second, partBytes), bytes: Buffer.concat(written), isOdd: true };
}

function run(tar: Buffer, pass: Pass, partBytes: number): Implied {
  const reader = new TarReader(pass);
  for (let at = 0; at < tar.length; at += Math.max(1, partBytes)) reader.push(tar.subarray(at, at + partBytes));
  reader.finish();
  return pass.finish(tar.length);
}
