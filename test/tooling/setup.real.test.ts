import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../src/package.js';
import { requires } from '../harness/requires.js';

interface Outcome {
  readonly code: number;
  readonly output: string;
}

/** With the PATH of a bare machine: Node and the system, without what set-up has made already. */
function run(program: string, args: readonly string[]): Promise<Outcome> {
  const PATH = [dirname(process.execPath), '/usr/bin', '/bin', '/usr/sbin', '/sbin'].join(':');
  return new Promise((resolve) => {
    execFile(program, [...args], { env: { ...process.env, PATH } }, (error, stdout, stderr) => {
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        output: stdout + stderr,
      });
    });
  });
}

/** A checkout with everything but `.tools/`; its node_modules is the real one, which set-up finds complete. */
function checkoutWithoutTools(folder: string): string {
  for (const name of ['scripts', 'package.json', 'package-lock.json', '.npmrc']) {
    cpSync(join(packageRoot(), name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(packageRoot(), 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'scripts', 'setup');
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'erofs-snapshotter-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

requires('root', 'demo-packages')('scripts/setup', () => {
  it('run again takes less than three seconds and needs no network', async () => {
    const begin = performance.now();
    const { code, output } = await run('unshare', ['--net', join(packageRoot(), 'scripts', 'setup')]);
    expect(output).toMatch(/setup: ready: mkfs\.erofs \d/);
    expect(code).toBe(0);
    expect(performance.now() - begin).toBeLessThan(3_000);
  });

  it('without network says so, and leaves nothing that a later run would trust', async () => {
    const setup = checkoutWithoutTools(folder);
    const { code, output } = await run('unshare', ['--net', setup]);
    expect(code).toBe(1);
    expect(output).toContain('what to do: this machine does not reach its package mirror');
    expect(readdirSync(join(folder, '.tools'))).toEqual(['setup.log']);
  });

  it('on another distribution names all that is missing, with the version needed', async () => {
    const setup = checkoutWithoutTools(folder);
    const release = join(folder, 'os-release');
    writeFileSync(release, 'ID=fedora\nVERSION_ID=42\n');
    const script = 'mount --bind "$1" "$(readlink -f /etc/os-release)" && exec "$2"';
    const { code, output } = await run('unshare', ['--mount', 'sh', '-c', script, 'sh', release, setup]);
    expect(code).toBe(1);
    expect(output).toContain('erofs-utils 1.9.3 or later');
    expect(output).toContain('containerd 2.1 or later');
    expect(output).toContain('SETUP_KERNEL');
    expect(readdirSync(join(folder, '.tools'))).toEqual(['setup.log']);
  });

  it('makes programs that run from wherever the checkout is, and through links', async () => {
    const elsewhere = join(folder, 'moved');
    symlinkSync(join(packageRoot(), '.tools'), elsewhere);
    symlinkSync(join(elsewhere, 'bin', 'mkfs.erofs'), join(folder, 'link'));
    for (const path of [join(elsewhere, 'bin', 'mkfs.erofs'), join(folder, 'link')]) {
      const { code, output } = await run(path, ['--version']);
      expect(output).toContain('erofs-utils');
      expect(code).toBe(0);
    }
  });
});
