import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package.js';

/** Runs one suite that asks for two things, one of them missing, in a vitest of its own. */
function runSuite(ci: string): Promise<{ failed: boolean; output: string }> {
  const vitest = join(packageRoot(), 'node_modules/vitest/vitest.mjs');
  const args = [vitest, 'run', '--root', packageRoot(), '--config', 'test/tooling/fixtures/requires/vitest.config.ts'];
  const env = { ...process.env, CI: ci, NO_COLOR: '1' };
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env }, (error, stdout, stderr) => {
      resolve({ failed: error !== null, output: stdout + stderr });
    });
  });
}

describe('a suite that requires what the machine lacks', () => {
  it('is counted as skipped, and says what is missing', async () => {
    const { failed, output } = await runSuite('');
    expect(output).toContain('skipped for want of loop: none free');
    expect(output).toMatch(/^1 passed, 0 failed, 2 skipped$/m);
    expect(failed).toBe(false);
  });

  it('fails with CI=true', async () => {
    const { failed, output } = await runSuite('true');
    expect(output).toContain('a CI machine must offer it: loop: none free');
    expect(output).toMatch(/^1 passed, 1 failed, 0 skipped$/m);
    expect(failed).toBe(true);
  });
});
