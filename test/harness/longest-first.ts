import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take half a minute and more. */
const long = [
  'snapshots/crash.real',
  'conformance/in-process.real',
  'diff/apply.real',
  'vm/guest.real',
  'e2e/judge.e2e',
  'e2e/spfs-runs.e2e',
  'e2e/spfs-chains.e2e',
  'e2e/spfs-keeping.e2e',
  'e2e/demo.e2e',
  'e2e/spfs-guide.e2e',
  'e2e/boot.e2e',
].map((path) => `test/${path}.test.ts`);

/**
 * Begins each ring with its longest files, so that none of them runs alone in the end. Vitest knows how long files take when it ran
 * them before on the same machine, which on a fresh one it never did.
 */
export default class LongestFirst extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(specifications);
    const isLong = ({ moduleId }: TestSpecification) => long.some((path) => moduleId.endsWith(path));
    return [...sorted.filter(isLong), ...sorted.filter((specification) => !isLong(specification))];
  }
}
