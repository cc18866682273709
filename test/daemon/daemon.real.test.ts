import { readFile, stat, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { requires } from '../harness/requires.js';
import { Daemon, temporaryFolder } from './daemon.js';

/** Lines that are for a person: the structured log left out. */
function plain(stderr: string): string[] {
  return stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
}

async function connects(path: string): Promise<boolean> {
  const connection = createConnection(path);
  try {
    await once(connection, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    connection.destroy();
  }
}

async function place(): Promise<{ root: string; address: string; args: string[] }> {
  const folder = await temporaryFolder();
  const root = join(folder, 'state', 'root');
  const address = join(folder, 'run', 'daemon.sock');
  return { root, address, args: ['--root', root, '--address', address] };
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode & 0o7777;
}

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
)('the daemon', () => {
  test('makes its folders and socket for root alone, and on SIGTERM removes the socket and exits 0', async () => {
    const { root, address, args } = await place();
    const daemon = new Daemon(args);
    await daemon.logged('ready');
    expect(await modeOf(root)).toBe(0o700);
    expect(await modeOf(join(address, '..'))).toBe(0o700);
    expect(await modeOf(address)).toBe(0o600);
    expect(await readFile(join(root, 'lock'), 'utf8')).toBe(`${daemon.pid}\n`);
    daemon.kill('SIGTERM');
    const { code, stdout, stderr } = await daemon.ended;
    expect({ code, stdout, plain: plain(stderr) }).toEqual({ code: 0, stdout: '', plain: [] });
    expect(await connects(address)).toBe(false);
    await expect(stat(address)).rejects.toThrow('ENOENT');
  });

  test('lets the configured group connect', async () => {
    const { address, root } = await place();
    const config = join(await temporaryFolder(), 'config.toml');
    await writeFile(config, `root = "${root}"\naddress = "unix://${address}"\nsocket_group = 12345\n`);
    await new Daemon(['--config', config]).logged('ready');
    expect(await modeOf(address)).toBe(0o660);
    expect((await stat(address)).gid).toBe(12345);
  });

  test('refuses a root that another daemon uses, and a socket on which one answers', async () => {
    const first = await place();
    const second = await place();
    const daemon = new Daemon(first.args);
    await daemon.logged('ready');
    const sameRoot = await new Daemon(['--root', first.root, '--address', second.address]).ended;
    expect(sameRoot.code).toBe(1);
    expect(plain(sameRoot.stderr)).toEqual([
      `erofs-snapshotter: ${first.root}/lock is locked by process ${daemon.pid}; stop that process first`,
    ]);
    const sameSocket = await new Daemon(['--root', second.root, '--address', first.address]).ended;
    expect(sameSocket.code).toBe(1);
    expect(plain(sameSocket.stderr)).toEqual([
      `erofs-snapshotter: a process already listens on ${first.address}; stop it, or choose another address`,
    ]);
    expect(await connects(first.address)).toBe(true);
  });

  test('replaces the socket and the lock of a daemon that was killed', async () => {
    const { address, args } = await place();
    const first = new Daemon(args);
    await first.logged('ready');
    first.kill('SIGKILL');
    await first.ended;
    expect((await stat(address)).isSocket()).toBe(true);
    await new Daemon(args).logged('ready');
    expect(await connects(address)).toBe(true);
  });

  test('ends at once, and not with success, on a second signal', async () => {
    const { args } = await place();
    const daemon = new Daemon(args);
    await daemon.logged('ready');
    daemon.kill('SIGTERM');
    daemon.kill('SIGINT');
    expect([130, 143]).toContain((await daemon.ended).code);
  });

  test('refuses to start without mkfs.erofs, in one line that says what to install', async () => {
    const { args, root } = await place();
    const { code, stderr } = await new Daemon(args, { PATH: '/no/such/folder' }).ended;
    expect(code).toBe(1);
    expect(plain(stderr)).toHaveLength(1);
    expect(plain(stderr)[0]).toMatch(/^erofs-snapshotter: mkfs\.erofs is not on PATH.*; install erofs-utils 1\.9\.3/);
    await expect(stat(root)).rejects.toThrow('ENOENT');
  });
});
