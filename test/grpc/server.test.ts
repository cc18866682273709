import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from 'grpc-health-check';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { isCode, CodedError } from '../../src/errors.js';
import { startServer } from '../../src/grpc/index.js';
import { openSocket } from '../../src/grpc/socket.js';
import { silentLogger } from '../../src/log.js';
import { ServiceClient } from '../../src/protocol/index.js';
import type { ServerStream, ServiceContract, Unary } from '../../src/protocol/index.js';
import { fakeSnapshotter, startWorld, within, type World, type WorldOptions } from './world.js';

let world: World;
const start = async (options: WorldOptions) => (world = await startWorld(options));

interface HealthMethods {
  readonly Check: Unary<{ service: string }, { status: string }>;
  readonly Watch: ServerStream<{ service: string }, { status: string }>;
}
const healthService: ServiceContract<HealthMethods> = { name: 'grpc.health.v1.Health', file: protoPath };
const health = () =>
  new ServiceClient(world.channel, loadSync(protoPath, { enums: String, defaults: true }), healthService);
const mounts = (signal?: AbortSignal, deadlineMs = 5000) =>
  world.snapshots.unary('Mounts', { snapshotter: '', key: 'k' }, { deadlineMs, signal });
const services = ['', 'containerd.services.snapshots.v1.Snapshots', 'containerd.services.diff.v1.Diff'];

describe('a call', () => {
  afterEach(() => world.close());

  it('waits for recovery, and health says so meanwhile', async () => {
    let recovered = () => {};
    const ready = new Promise<void>((resolve) => (recovered = resolve));
    let asked = false;
    const answer = () => Promise.resolve([]).finally(() => (asked = true));
    await start({ recovered: ready, snapshotter: { mounts: answer } });
    const call = mounts();
    for (const service of services)
      expect((await health().unary('Check', { service }, within)).status).toBe('NOT_SERVING');
    expect(asked).toBe(false);
    recovered();
    expect(await call).toEqual({ mounts: [] });
    for (const service of services) expect((await health().unary('Check', { service }, within)).status).toBe('SERVING');
  });

  it('fails as recovery failed, and health stays at NOT_SERVING', async () => {
    let fail = (_: Error) => {};
    await start({ recovered: new Promise((_, reject) => (fail = reject)) });
    fail(new CodedError('data-loss', 'the database is damaged'));
    await expect(mounts()).rejects.toMatchObject({ code: status.DATA_LOSS, details: 'the database is damaged' });
    expect((await health().unary('Check', { service: '' }, within)).status).toBe('NOT_SERVING');
  });

  it('is given up while it waits for recovery when its caller is', async () => {
    await start({ recovered: new Promise(() => {}) });
    await expect(mounts(undefined, 50)).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
    await world.server.drain();
  });

  it.each([
    ['cancelled', 'cancelled'],
    ['left behind by its deadline', 'deadline-exceeded'],
  ] as const)('that is %s aborts its handler, saying %s', async (how, code) => {
    let aborted: (reason: unknown) => void;
    const reason = new Promise<unknown>((resolve) => (aborted = resolve));
    let began = () => {};
    const running = new Promise<void>((resolve) => (began = resolve));
    const prepare = ({ signal }: { signal?: AbortSignal }) =>
      new Promise<never>((_, reject) => {
        signal?.addEventListener('abort', () => {
          aborted(signal.reason);
          reject(new Error('stopped'));
        });
        began();
      });
    await start({ snapshotter: { prepare } });
    const controller = new AbortController();
    const request = { snapshotter: '', key: 'k', parent: '', labels: {} };
    const call = world.snapshots.unary('Prepare', request, {
      deadlineMs: how === 'cancelled' ? 5000 : 100,
      signal: controller.signal,
    });
    const failed = expect(call).rejects.toThrow();
    await running;
    if (how === 'cancelled') controller.abort(new Error('enough'));
    await failed;
    expect(isCode(await reason, code)).toBe(true);
  });

  it('that meets a bug is answered with an id under which the log has the stack', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    await start({ log, snapshotter: { mounts: () => Promise.reject(new TypeError('a bug')) } });
    const error: unknown = await mounts().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: status.INTERNAL });
    const entry = JSON.parse(lines.find((line) => line.includes('a bug')) ?? '{}') as Record<string, unknown>;
    expect(entry).toMatchObject({
      method: '/containerd.services.snapshots.v1.Snapshots/Mounts',
      namespace: 'fallback',
      key: 'k',
    });
    expect((error as { details: string }).details).toContain(entry['id']);
    expect(JSON.stringify(entry['err'])).toContain('server.test.ts');
  });

  it('may throw before it is asynchronous', async () => {
    await start({
      snapshotter: {
        mounts: () => {
          throw new CodedError('not-found', 'nothing there');
        },
      },
    });
    await expect(mounts()).rejects.toMatchObject({ code: status.NOT_FOUND, details: 'nothing there' });
  });
});

describe('drain', () => {
  it('lets a running call end and refuses new ones', async () => {
    let finish = () => {};
    let began = () => {};
    const running = new Promise<void>((resolve) => (began = resolve));
    const answer = () =>
      new Promise<[]>((resolve) => {
        finish = () => resolve([]);
        began();
      });
    await start({ snapshotter: { mounts: answer }, drainMs: 5000 });
    const call = mounts();
    await running;
    const drained = world.server.drain();
    await vi.waitFor(() => expect(existsSync(world.address)).toBe(false));
    finish();
    expect(await call).toEqual({ mounts: [] });
    await drained;
    await expect(mounts()).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await world.close();
  });

  it('stops a call that does not end, and tells its caller UNAVAILABLE', async () => {
    const prepare = ({ signal }: { signal?: AbortSignal }) =>
      new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(new Error('killed'))));
    await start({ snapshotter: { prepare }, drainMs: 20 });
    const call = world.snapshots.unary('Prepare', { snapshotter: '', key: 'k', parent: '', labels: {} }, within);
    const failed = expect(call).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('stopping') as string,
    });
    await health().unary('Check', { service: '' }, within);
    await world.server.drain();
    await failed;
    await world.close();
  });

  it('is not held up by a watcher of the health service, which hears that the server stops', async () => {
    await start({});
    const seen: string[] = [];
    const watching = (async () => {
      for await (const message of health().stream('Watch', { service: '' }, { stallMs: 5000 })) {
        seen.push(message.status);
        if (message.status === 'SERVING') void world.server.drain();
      }
    })();
    await expect(watching).rejects.toThrow();
    expect(seen.slice(-2)).toEqual(['SERVING', 'NOT_SERVING']);
    await world.close();
  });
});

describe('the socket', () => {
  const listening: Server[] = [];
  let folder: string;
  const create = async () => join((folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'))), 'x.sock');
  const unused = () => Promise.reject(new Error('unused'));
  const differ = { apply: unused, compare: unused };
  const serve = (address: string, socketGid?: number) =>
    startServer({
      address,
      socketGid,
      snapshotter: Promise.resolve(fakeSnapshotter({})),
      differ,
      defaultNamespace: 'd',
      log: silentLogger(),
    });
  afterEach(async () => {
    for (const server of listening.splice(0)) server.close();
    await rm(folder, { recursive: true });
  });

  it('has mode 0600 in a new folder of mode 0700, whatever the umask, and goes with the server', async () => {
    const address = join(dirname(await create()), 'new', 'x.sock');
    const before = process.umask(0);
    try {
      const server = await serve(address);
      expect((await stat(address)).mode & 0o777).toBe(0o600);
      expect((await stat(dirname(address))).mode & 0o777).toBe(0o700);
      expect(await readdir(dirname(address))).toEqual(['x.sock']);
      await server.drain();
    } finally {
      process.umask(before);
    }
    expect(await readdir(dirname(address))).toEqual([]);
  });

  it('has mode 0660 and the group that is configured', async () => {
    const address = await create();
    const server = await serve(address, 12_345);
    expect(await stat(address)).toMatchObject({ gid: 12_345 });
    expect((await stat(address)).mode & 0o777).toBe(0o660);
    await server.drain();
  });

  it('replaces a stale socket', async () => {
    const address = await create();
    const first = createServer().listen(join(folder, 'moved.sock'));
    await new Promise((resolve) => first.once('listening', resolve));
    await rename(join(folder, 'moved.sock'), address);
    await new Promise((resolve) => first.close(resolve));
    expect((await stat(address)).isSocket()).toBe(true);
    const server = await serve(address);
    await server.drain();
  });

  it('refuses a path on which a process listens, and leaves that one alone', async () => {
    const address = await create();
    const other = createServer().listen(address);
    listening.push(other);
    await new Promise((resolve) => other.once('listening', resolve));
    await expect(serve(address)).rejects.toThrow(/already listens/);
    expect(await readdir(folder)).toEqual(['x.sock']);
  });

  it('refuses a path that is no socket, and one that is too long for Linux', async () => {
    const address = await create();
    await writeFile(address, 'precious');
    await expect(serve(address)).rejects.toThrow(/is not a socket/);
    await expect(serve(join(folder, 'x'.repeat(100)))).rejects.toThrow(/it must be \d+ bytes shorter/);
    const shortName = join(folder, 'x'.repeat(100 - folder.length), 's');
    await expect(serve(shortName)).rejects.toThrow(/its folder must be \d bytes shorter/);
    expect(await readdir(folder)).toEqual(['x.sock', basename(dirname(shortName))]);
  });

  it('does not remove the socket that another server has put in its place', async () => {
    const address = await create();
    const first = await serve(address);
    await rm(address);
    const second = await serve(address);
    await first.drain();
    expect((await stat(address)).isSocket()).toBe(true);
    await second.drain();
  });

  it('is made in its own folder, which may be a mount point (it was made beside that folder)', async () => {
    const address = join(dirname(await create()), 'mounted', 'x.sock');
    const bound: string[] = [];
    const bind = (path: string) => {
      bound.push(path);
      return writeFile(path, '');
    };
    await openSocket({ path: address, bind });
    expect(bound.map((path) => dirname(dirname(path)))).toEqual([dirname(address)]);
  });

  it('may lie in a folder that is there already, whose mode stays', async () => {
    const address = join(dirname(await create()), 'there', 'x.sock');
    await mkdir(dirname(address));
    await chmod(dirname(address), 0o750);
    const server = await serve(address);
    expect((await stat(dirname(address))).mode & 0o777).toBe(0o750);
    await server.drain();
  });
});
