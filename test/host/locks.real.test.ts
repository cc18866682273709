import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { lockExclusively, lockImage, run } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from './temporary.js';

const deadlineMs = 30_000;

/** Starts a program, and resolves when `ready` stands in what it prints. */
async function started(program: string, args: readonly string[], ready: string, input = '') {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  onTestFinished(stop);
  child.stdin.write(input);
  let printed = '';
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    printed += String(chunk);
    if (printed.includes(ready)) return { pid: child.pid, stop };
  }
  throw new Error(`${program} ended before it was ready: ${printed}`);
}

describe('the lock of a root', () => {
  const holder = fileURLToPath(new URL('fixtures/hold-lock.ts', import.meta.url));

  test('refuses a second process, names the first, and is free again when the first was killed', async () => {
    const path = join(await temporaryFolder(), 'lock');
    const first = await started(process.execPath, ['--import', 'tsx', holder, path], 'locked');
    await expect(lockExclusively(path)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `${path} is locked by process ${first.pid}`,
      facts: { path, pid: first.pid },
    });
    await first.stop();
    const lock = await lockExclusively(path);
    expect(await readFile(path, 'utf8')).toBe(`${process.pid}\n`);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await lock.release();
  });

  test('is not inherited by the tools this process starts', async () => {
    const path = join(await temporaryFolder(), 'lock');
    const lock = await lockExclusively(path);
    await started('sh', ['-c', 'echo on; exec sleep 60'], 'on');
    await lock.release();
    await lock.release();
    await (await lockExclusively(path)).release();
  });

  test('is not taken through a symbolic link', async () => {
    const folder = await temporaryFolder();
    await run('ln', ['-s', '/etc/passwd', join(folder, 'lock')], { deadlineMs });
    await expect(lockExclusively(join(folder, 'lock'))).rejects.toMatchObject({ code: 'internal' });
  });
});

requires('qemu')('the lock of an image', () => {
  async function image(): Promise<string> {
    const path = join(await temporaryFolder(), 'rwlayer.img');
    await writeFile(path, '');
    await truncate(path, 1 << 20);
    return path;
  }

  /** A machine that does not run, with the image as a disk: it is the disk that makes QEMU lock. */
  function machineArgs(path: string, access: string): string[] {
    const disk = `driver=file,node-name=disk,filename=${path}${access}`;
    const machine = ['-nodefaults', '-display', 'none', '-machine', 'q35,accel=tcg', '-m', '64', '-S', '-qmp', 'stdio'];
    return [...machine, '-blockdev', disk, '-device', 'virtio-blk-pci,drive=disk'];
  }

  function qemu(path: string, access = '') {
    // It greets before it opens disks, but answers only when it is set up.
    return started('qemu-system-x86_64', machineArgs(path, access), '"return"', '{"execute":"qmp_capabilities"}');
  }

  test.for([
    ['writes it', ''],
    ['only reads it', ',read-only=on'],
  ])('is refused while a QEMU that %s runs', async ([, option]) => {
    const path = await image();
    const machine = await qemu(path, option);
    await expect(lockImage(path)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `the image ${path} is in use: a virtual machine has it open`,
    });
    await machine.stop();
    await (await lockImage(path)).release();
  });

  test('keeps QEMU from starting until it is released', async () => {
    const path = await image();
    const lock = await lockImage(path);
    await expect(run('qemu-system-x86_64', machineArgs(path, ''), { deadlineMs })).rejects.toMatchObject({
      message: expect.stringContaining('Failed to lock byte') as string,
    });
    await lock.release();
    await qemu(path);
  });

  test('is refused while another program holds an flock, and excludes the like', async () => {
    const path = await image();
    const other = await started('sh', ['-c', 'exec 9>>"$1"; flock 9; echo on; exec sleep 60', 'sh', path], 'on');
    await expect(lockImage(path)).rejects.toMatchObject({ code: 'failed-precondition' });
    await other.stop();
    const lock = await lockImage(path);
    await expect(run('flock', ['--nonblock', path, 'true'], { deadlineMs })).rejects.toMatchObject({
      code: 'internal',
    });
    await lock.release();
    await run('flock', ['--nonblock', path, 'true'], { deadlineMs });
  });

  test('is held against this process too', async () => {
    const path = await image();
    const lock = await lockImage(path);
    await expect(lockImage(path)).rejects.toMatchObject({ code: 'failed-precondition' });
    await lock.release();
    await (await lockImage(path)).release();
  });

  test('of an image that does not exist is not-found', async () => {
    const path = join(await temporaryFolder(), 'none.img');
    await expect(lockImage(path)).rejects.toMatchObject({ code: 'not-found' });
  });
});
