import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package.js';

interface Report {
  readonly summary: { readonly violations: readonly { from: string; to: string; rule: { name: string } }[] };
}

/** Runs the project's own rules on a tree; dependency-cruiser exits with the number of violations. */
async function violations(tree: string): Promise<string[]> {
  const root = packageRoot();
  const args = [
    join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs'),
    ...['--config', join(root, '.dependency-cruiser.cjs'), '--output-type', 'json', 'src', 'cmd'],
  ];
  const cwd = join(import.meta.dirname, 'fixtures', tree);
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd }).catch((error: unknown) => {
    if (error instanceof Error && 'stdout' in error) return error as Error & { stdout: string };
    throw error;
  });
  const report = JSON.parse(stdout) as Report;
  return report.summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`).sort();
}

describe('the arrows between the rooms', () => {
  it('let a tree pass that imports downwards and through index.ts', async () => {
    expect(await violations('arrows-kept')).toEqual([]);
  });

  it('catch an import upward, sideways, past index.ts, from the foundation, between commands, and a circle', async () => {
    expect(await violations('arrows-broken')).toEqual([
      'arrows-of-erofs: src/erofs/index.ts -> src/vmdk/index.ts',
      'arrows-of-host: src/host/index.ts -> src/snapshots/index.ts',
      'arrows-of-vmdk: src/vmdk/index.ts -> src/erofs/index.ts',
      'commands-through-the-door: cmd/one/main.ts -> cmd/two/main.ts',
      'foundation-stands-alone: src/errors.ts -> src/host/index.ts',
      'no-circles: src/erofs/index.ts -> src/vmdk/index.ts',
      'rooms-are-known: src/attic/index.ts -> src/host/index.ts',
      'through-the-door: src/snapshots/index.ts -> src/metadata/inner.ts',
    ]);
  });
});
