import { defineConfig } from 'vitest/config';
import { toolPath } from './test/harness/capabilities.js';
import LongestFirst from './test/harness/longest-first.js';
import { chooseSeed } from './test/harness/share.js';

// Chosen here, since every process of the run must find the same one.
process.env['TEST_SEED'] = String(chooseSeed());

/**
 * Three rings: `pure` needs Node alone, `real` the tools and the kernel, `e2e` a whole containerd, registry and QEMU.
 * They run one after the other, so that the clocks of the later rings are not disturbed by the earlier ones.
 */
export default defineConfig({
  test: {
    reporters: ['default', './test/harness/counts-reporter.ts'],
    env: { PATH: toolPath() },
    // Threads that the product starts from source. The main thread has vitest's own loader.
    execArgv: ['--import', new URL('scripts/typescript-threads.mjs', import.meta.url).href],
    // By default as many as there are processors but one, which on the smallest machines is one file after the other.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // A fault of QEMU's emulation, in the guest's interrupt handlers before its command runs, says nothing of the test.
    retry: { count: 1, condition: /Kernel panic - not syncing: Fatal exception in interrupt/ },
    projects: [
      {
        extends: true,
        test: {
          name: 'pure',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.real.test.ts', 'test/**/*.e2e.test.ts'],
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'real',
          include: ['test/**/*.real.test.ts'],
          globalSetup: ['test/harness/global-setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/**/*.e2e.test.ts'],
          globalSetup: ['test/harness/global-setup.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
