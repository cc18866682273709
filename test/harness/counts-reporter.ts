import type { Reporter, TestModule } from 'vitest/node';
import { runsAll, runSeed } from './share.js';

/**
 * Begins the run with what repeats its chance, and ends it with one plain line, `N passed, N failed, N skipped`, that a script
 * can read.
 */
export default class CountsReporter implements Reporter {
  onInit(): void {
    const what = runsAll ? 'long enumerations run whole' : 'long enumerations run a share, npm run test:all the whole';
    process.stdout.write(`${what}; to repeat what chance chose: TEST_SEED=${runSeed()}\n`);
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      const before = counts.failed;
      for (const test of module.children.allTests()) counts[test.result().state] += 1;
      // A file that did not load, or whose hook failed, has no failed test of its own.
      if (module.state() === 'failed' && counts.failed === before) counts.failed += 1;
    }
    const skipped = counts.skipped + counts.pending;
    process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${skipped} skipped\n`);
  }
}
