import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, it } from 'vitest';

import { LayerTar } from '../../scripts/rig/layer-tar.js';
import { LayoutWriter } from '../../scripts/rig/oci-layout.js';
import { tool, type ToolResult } from '../../scripts/rig/process.js';
import { listMounts } from '../../src/host/index.js';
import { packageRoot } from '../../src/package.js';
import { requires } from '../harness/requires.js';

const needed = ['root', 'mkfs.erofs', 'containerd', 'registry', 'demo-packages', 'qemu', 'guest-kernel'] as const;

requires(...needed)('npm run demo', () => {
  let folder: string;
  let temporary: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    temporary = join(folder, 'tmp');
    await mkdir(temporary);
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  /** As `npm run demo` starts it, after set-up and build; all it makes lies in a folder of its own. */
  function demo(...args: readonly string[]): Promise<ToolResult> {
    const program = ['--import', 'tsx', join(packageRoot(), 'scripts', 'demo.ts')];
    return tool(process.execPath, [...program, ...args], { env: { TMPDIR: temporary } });
  }

  async function expectNothingLeft(): Promise<void> {
    expect((await readdir(temporary)).filter((name) => name.startsWith('erofs-snapshotter-'))).toEqual([]);
    expect((await listMounts()).filter((mount) => mount.target.startsWith(folder))).toEqual([]);
    const { stdout } = await tool('ps', ['-eo', 'args']);
    expect(stdout.split('\n').filter((line) => line.includes(temporary))).toEqual([]);
  }

  it('ends with "demo: ok" and leaves nothing', async () => {
    const { exitCode, stdout, stderr } = await demo();
    expect([exitCode, stderr, stdout.trimEnd().split('\n').at(-1)]).toEqual([0, '', 'demo: ok']);
    await expectNothingLeft();
  });

  it("runs a user's image that has one layer and no shell", async () => {
    const layout = new LayoutWriter(join(folder, 'layout'));
    await layout.open();
    const layer = new LayerTar(join(folder, 'layer.tar'));
    await layer.file('only', 'one file\n');
    await layout.finish('user', [await layer.finish(layout, 'gzip')]);
    const { exitCode, stdout } = await demo('--image', layout.folder);
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining('the image has no /bin/sh')]);
    expect(stdout).toContain('demo: ok');
    await expectNothingLeft();
  });

  it.each([
    ['a folder that is no layout', '.', 'is not an OCI layout'],
    ['a file that is no tar', 'file', 'is not a tar archive'],
    ['a path that is not there', 'absent', 'does not exist'],
  ])('says what to do about %s, and leaves nothing', async (_, name, message) => {
    await writeFile(join(folder, 'file'), 'x'.repeat(1024));
    const { exitCode, stderr } = await demo('--image', join(folder, name));
    expect(exitCode).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr).toContain('what to do: ');
    await expectNothingLeft();
  });

  it('leaves nothing when it is interrupted', async () => {
    const script = 'timeout --signal=INT --preserve-status 4 "$0" --import tsx "$1"';
    const { exitCode, stderr } = await tool(
      'sh',
      ['-c', script, process.execPath, join(packageRoot(), 'scripts', 'demo.ts')],
      { env: { TMPDIR: temporary } },
    );
    expect([exitCode, stderr]).toEqual([130, expect.stringContaining('interrupted by SIGINT')]);
    await expectNothingLeft();
  });
});
