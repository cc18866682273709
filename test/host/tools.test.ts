import koffi from 'koffi';
import { closeSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { notifyReady, requireTool } from '../../src/host/index.js';
import { temporaryFolder } from './temporary.js';

test('a tool counts as there only when a folder of PATH has it and it can be executed', async () => {
  const folder = await temporaryFolder();
  vi.stubEnv('PATH', `/no/such/folder:${folder}`);
  onTestFinished(() => void vi.unstubAllEnvs());
  await writeFile(join(folder, 'mkfs.ext4'), '');
  await expect(requireTool('mkfs.ext4', 'install e2fsprogs')).rejects.toMatchObject({
    code: 'unavailable',
    advice: 'mkfs.ext4 is not on PATH; install e2fsprogs',
  });
  await chmod(join(folder, 'mkfs.ext4'), 0o755);
  await requireTool('mkfs.ext4', 'install e2fsprogs');
});

describe('the service manager is told that we are ready', () => {
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int, int, int)') as (...args: number[]) => number;
  const bind = libc.func('int bind(int, const void *, uint32_t)') as (fd: number, to: Buffer, size: number) => number;
  const recv = libc.func('int64_t recv(int, void *, size_t, int)') as (
    fd: number,
    into: Buffer,
    size: number,
    flags: number,
  ) => number;

  /** A datagram socket bound to `name`, and what it received. */
  function listen(name: string): () => string {
    const fd = socket(1, 2, 0);
    onTestFinished(() => closeSync(fd));
    const address = Buffer.concat([Buffer.from([1, 0]), Buffer.from(name)]);
    expect(bind(fd, address, address.length)).toBe(0);
    return () => {
      const data = Buffer.alloc(64);
      return data.toString('utf8', 0, recv(fd, data, data.length, 0x40));
    };
  }

  test('at a path', async () => {
    const path = join(await temporaryFolder(), 'notify');
    const received = listen(path);
    notifyReady(path);
    expect(received()).toBe('READY=1');
  });

  test('at an abstract name', () => {
    const name = `erofs-snapshotter-test-${process.pid}`;
    const received = listen(`\0${name}`);
    notifyReady(`@${name}`);
    expect(received()).toBe('READY=1');
  });

  test('a socket without a listener is an error', () => {
    expect(() => notifyReady('/no/such/socket')).toThrow('ENOENT');
  });
});
