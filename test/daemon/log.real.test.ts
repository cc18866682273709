import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { isWritable, makePipeDescriptors } from '../../src/host/libc.js';
import { loadDefinitions, ServiceClient, snapshotsService, type SnapshotsMethods } from '../../src/protocol/index.js';
import { requires } from '../harness/requires.js';
import { Daemon, temporaryFolder } from './daemon.js';

/** A daemon's place, and a call to it that waits until it listens. */
async function place() {
  const folder = await temporaryFolder();
  const address = join(folder, 'daemon.sock');
  const channel = new Client(`unix:${address}`, credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 100,
  });
  onTestFinished(() => channel.close());
  const client = new ServiceClient<SnapshotsMethods>(channel, loadDefinitions([snapshotsService]), snapshotsService);
  const answers = async (key: string) => {
    await new Promise<void>((resolve, reject) => {
      channel.waitForReady(Date.now() + 30_000, (error) => (error ? reject(error) : resolve()));
    });
    await client.unary('Prepare', { snapshotter: '', key, parent: '', labels: {} }, { deadlineMs: 30_000 });
  };
  return { args: ['--root', join(folder, 'root'), '--address', address], answers };
}

/** Addresses in the format of /proc/net/tcp on which a process listens. */
async function tcpListeners(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const sockets = await Promise.all((await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => '')));
  const tables = await Promise.all(['tcp', 'tcp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8')));
  return tables
    .flatMap((table) => table.split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .flatMap(([, address = '', , state, , , , , , inode]) =>
      state === '0A' && sockets.includes(`socket:[${inode}]`) ? [address] : [],
    );
}

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
)('whatever becomes of its log, the daemon', () => {
  test('goes on when the log has no reader any more', async () => {
    const { args, answers } = await place();
    const daemon = new Daemon(args, { LOG_LEVEL: 'trace' });
    await daemon.logged('ready');
    daemon.leaveLog();
    for (const key of ['one', 'two', 'three']) {
      daemon.kill('SIGHUP');
      await answers(key);
    }
    daemon.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });

  test('goes on when the log is a full disk', async () => {
    const { args, answers } = await place();
    const full = openSync('/dev/full', 'w');
    const daemon = new Daemon(args, { LOG_LEVEL: 'trace' }, full);
    closeSync(full);
    await answers('one');
    daemon.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });

  test('starts, answers and ends while its log has no reader, and writes what it kept once there is one', async () => {
    const { args, answers } = await place();
    const [reader, writer] = makePipeDescriptors();
    let filled = 0;
    while (isWritable(writer)) filled += writeSync(writer, '.'.repeat(4096));
    const daemon = new Daemon(args, { LOG_LEVEL: 'trace' }, writer);
    closeSync(writer);
    await answers('one');
    const buffer = Buffer.alloc(filled);
    for (let at = 0; at < filled;) at += readSync(reader, buffer, at, filled - at, null);
    daemon.kill('SIGHUP');
    await answers('two');
    daemon.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
    const log = readFileSync(reader, 'utf8');
    closeSync(reader);
    expect(log.split('\n').flatMap((line) => (line === '' ? [] : [(JSON.parse(line) as { msg: string }).msg]))).toEqual(
      expect.arrayContaining(['starting', 'ready', 'ignored a signal', 'stopped']),
    );
  });

  test('reports why it could not start while its log has no reader, and ends', async () => {
    const [reader, writer] = makePipeDescriptors();
    while (isWritable(writer)) writeSync(writer, '.'.repeat(4096));
    const daemon = new Daemon(['--root', 'relative'], {}, writer);
    expect((await daemon.ended).code).toBe(2);
    for (const fd of [reader, writer]) closeSync(fd);
  });

  test('takes SIGHUP, SIGUSR1 and SIGUSR2 for nothing: it goes on, and no inspector opens', async () => {
    const { args, answers } = await place();
    const daemon = new Daemon(args);
    await daemon.logged('ready');
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
      daemon.kill(signal);
      await daemon.logged('ignored a signal');
      await answers(signal);
    }
    expect(await tcpListeners(daemon.pid)).toEqual([]);
    daemon.kill('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(0);
    expect(stderr).not.toContain('Debugger');
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2']) expect(stderr).toContain(`"signal":"${signal}"`);
  });

  test('takes them for nothing as soon as it runs, while most of its code is still to be loaded', async () => {
    const hooks = `export async function load(url, context, next) {
      if (url.includes('/cmd/erofs-snapshotter/command.')) {
        for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2']) process.kill(process.pid, signal);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      return next(url, context);
    }`;
    const inUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
    const register = `import { register } from 'node:module'; register(${JSON.stringify(inUrl(hooks))});`;
    const { args, answers } = await place();
    const daemon = new Daemon(args, { NODE_OPTIONS: `--import ${inUrl(register)}` });
    await answers('one');
    expect(await tcpListeners(daemon.pid)).toEqual([]);
    daemon.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ code: 0, stderr: expect.not.stringContaining('Debugger') as string });
  });
});
