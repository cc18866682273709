import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { afterEach, beforeEach, expect, it } from 'vitest';

import { daemon, daemonProgram } from '../../scripts/rig/daemon.js';
import { type Service, tool, type ToolResult } from '../../scripts/rig/process.js';
import { SnapshotsClient } from '../../scripts/rig/snapshots-client.js';
import { requires } from '../harness/requires.js';

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
)('the daemon', () => {
  let folder: string;
  let running: Service[];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    running = [];
  });
  afterEach(async () => {
    for (const service of running) await service.kill();
    await rm(folder, { recursive: true, force: true });
  });

  const root = (name = 'root') => join(folder, name);
  const socket = (name = 'a.sock') => join(folder, name);

  function service(address = socket(), place = root()): Service {
    const made = daemon({ root: place, address, containerdAddress: join(folder, 'absent.sock') });
    running.push(made);
    return made;
  }

  async function started(...args: Parameters<typeof service>): Promise<Service> {
    const made = service(...args);
    await made.start();
    return made;
  }

  function once(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ToolResult> {
    return tool(process.execPath, [daemonProgram, ...args], { env, timeoutMs: 20_000 });
  }

  const here = () => ['--root', root(), '--address', socket()];

  it('serves without containerd, behind a socket and a root that are its own, and ends with 0 on SIGTERM', async () => {
    const first = await started();
    expect(((await stat(socket())).mode & 0o7777).toString(8)).toBe('600');
    expect(((await stat(root())).mode & 0o7777).toString(8)).toBe('700');
    const client = new SnapshotsClient(socket());
    expect((await client.prepare('default/1/empty', '')).map((mount) => mount.type)).toEqual(['ext4']);
    client.close();
    expect(await first.stop()).toBe(0);
    expect(await tool('test', ['-e', socket()])).toMatchObject({ exitCode: 1 });
  });

  it('refuses a socket that another daemon serves', async () => {
    const first = await started();
    const second = await once(['--root', root('other'), '--address', socket()]);
    expect(second.exitCode).toBe(1);
    expect(second.stderr).toContain(socket());
    const client = new SnapshotsClient(socket());
    expect(await client.list()).toEqual([]);
    client.close();
    expect(await first.stop()).toBe(0);
  });

  it('refuses a root that another daemon uses, naming its process', async () => {
    const first = await started();
    const second = await once(['--root', root(), '--address', socket('b.sock')]);
    expect(second.exitCode).toBe(1);
    expect(second.stderr).toContain(root());
    expect(second.stderr).toContain(String(first.pid));
  });

  it('replaces a socket that no process serves any more', async () => {
    const first = await started();
    await first.kill();
    expect((await stat(socket())).isSocket()).toBe(true);
    const second = await started();
    expect(await second.stop()).toBe(0);
  });

  it('leaves alone what stands at its address and is no socket', async () => {
    await writeFile(socket(), 'precious');
    expect((await once(here())).exitCode).toBe(1);
    expect(await readFile(socket(), 'utf8')).toBe('precious');
  });

  it('refuses a socket that another program serves', async () => {
    const server = createServer().listen(socket());
    await new Promise((resolve) => server.once('listening', resolve));
    const { exitCode, stderr } = await once(here());
    await new Promise((resolve) => server.close(resolve));
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(socket())]);
  });

  it('prints the version of the package', async () => {
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
    expect(await once(['--version'])).toMatchObject({ exitCode: 0, stdout: `${version}\n` });
  });

  it.each([
    ['an unknown flag', ['--colour'], '--colour'],
    ['a size that is none', ['--default-size', 'huge'], 'huge'],
    ['a size out of range', ['--default-size', '1'], '1'],
    ['an unknown log level', ['--log-level', 'loud'], 'loud'],
    ['a relative root', ['--root', 'here'], 'here'],
    ['a configuration that is not there', ['--config', '/absent.toml'], '/absent.toml'],
    ['an argument', ['start'], 'too many arguments'],
  ])('refuses %s, saying so, before it touches anything', async (_, args, named) => {
    const { exitCode, stderr } = await once([...here(), ...args]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain(named);
    expect(await tool('test', ['-e', root()])).toMatchObject({ exitCode: 1 });
  });

  it('refuses to start without mkfs.erofs, naming the version it needs', async () => {
    const { exitCode, stderr } = await once(here(), { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' });
    expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/mkfs\.erofs.*1\.8\.10/s)]);
  });

  it.each(['1.7.1', '1.8', '1.8.1', '1.8.7', '1.8.8'])(
    'refuses mkfs.erofs %s, naming it and what is needed',
    async (version) => {
      const bin = join(folder, 'bin');
      await mkdir(bin);
      await writeFile(join(bin, 'mkfs.erofs'), `#!/bin/sh\necho "mkfs.erofs (erofs-utils) ${version}"\n`);
      await chmod(join(bin, 'mkfs.erofs'), 0o755);
      const { exitCode, stderr } = await once(here(), { PATH: [bin, process.env['PATH']].join(delimiter) });
      expect(exitCode).toBe(1);
      expect(stderr).toContain(version);
      expect(stderr).toContain('1.8.10');
    },
  );
});
