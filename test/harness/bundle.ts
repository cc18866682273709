import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'vite';
import { beforeAll } from 'vitest';
import { packageRoot } from '../../src/package.js';

/**
 * Bundles programs with all they import but what is native, before the tests of the caller's block, so that hundreds of their
 * processes can start in a fifth of a second each.
 *
 * @param folder where they are
 * @param names of their files, without `.ts`
 * @returns the path of a program's bundle, by its name, while the tests run
 */
export function bundlePrograms<Name extends string>(folder: string, ...names: readonly Name[]): (name: Name) => string {
  // Where native modules are found from.
  const bundles = join(packageRoot(), 'node_modules', '.cache', `bundle-${randomUUID()}`);
  beforeAll(async () => {
    await build({
      configFile: false,
      logLevel: 'error',
      ssr: { noExternal: true, external: ['koffi', 'classic-level'] },
      build: {
        ssr: true,
        outDir: bundles,
        target: 'node20',
        rollupOptions: { input: names.map((name) => join(folder, `${name}.ts`)) },
      },
    });
    return () => rm(bundles, { recursive: true, force: true });
  });
  return (name) => join(bundles, `${name}.js`);
}
