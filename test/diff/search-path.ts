import { access, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from '../host/temporary.js';

/** Where a program lies on the tests' own search path; undefined when it is not installed. */
export async function programOnPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, name);
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}

/** Lets the test find these programs alone: installed ones by name, others as shell scripts, which come before them. */
export async function onlyPrograms(
  names: readonly string[],
  scripts: Readonly<Record<string, string>> = {},
): Promise<void> {
  const folder = await temporaryFolder();
  for (const name of names) {
    const path = await programOnPath(name);
    if (path !== undefined && scripts[name] === undefined) await symlink(path, join(folder, name));
  }
  for (const [name, script] of Object.entries(scripts)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755, flag: 'wx' });
  }
  const before = process.env['PATH'];
  process.env['PATH'] = folder;
  onTestFinished(() => {
    process.env['PATH'] = before;
  });
}
