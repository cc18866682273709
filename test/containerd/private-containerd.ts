import { execFile, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Plugins that would write outside the temporary folder, or serve Kubernetes. */
const disabled = [
  'io.containerd.cri.v1.runtime',
  'io.containerd.grpc.v1.cri',
  'io.containerd.internal.v1.opt',
  'io.containerd.nri.v1.nri',
];

const startMs = 20_000;

/** Runs a program to its end and answers its standard output; what it prints on standard error is in the rejection. */
export async function run(program: string, args: readonly string[], input: string | Uint8Array = ''): Promise<string> {
  const running = promisify(execFile)(program, [...args], { timeout: 60_000, maxBuffer: 2 ** 26 });
  // A program that does not read its input may be gone before it is written.
  running.child.stdin?.on('error', () => undefined);
  running.child.stdin?.end(input);
  return (await running).stdout;
}

/**
 * Starts a containerd of its own in a temporary folder, with `config` (which begins with `version = …`) extended so that
 * nothing outside is touched.
 */
export async function startContainerd(config = 'version = 3\n') {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const address = join(folder, 'containerd.sock');
  const root = join(folder, 'root');
  const [version, ...rest] = config.split('\n');
  const head = [version, `root = '${root}'`, `state = '${join(folder, 'state')}'`];
  const socket = ['[grpc]', `address = '${address}'`, '[ttrpc]', `address = '${address}.ttrpc'`];
  const own = [...head, `disabled_plugins = ${JSON.stringify(disabled)}`, ...rest, ...socket, ''];
  await writeFile(join(folder, 'config.toml'), own.join('\n'));

  const log = join(folder, 'log');
  const spawnDaemon = async () => {
    const child = spawn('containerd', ['--config', join(folder, 'config.toml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    child.stderr.pipe(createWriteStream(log, { flags: 'a' }));
    const deadline = Date.now() + startMs;
    const isUp = () =>
      ctr('--connect-timeout', '500ms', 'version').then(
        () => true,
        () => false,
      );
    while (!(await isUp())) {
      if (child.exitCode === null && Date.now() < deadline) continue;
      child.kill('SIGKILL');
      await exited;
      throw new Error(`containerd did not start:\n${await readFile(log, 'utf8')}`);
    }
    return async () => {
      child.kill('SIGTERM');
      await exited;
    };
  };
  const ctr = (...args: string[]) => run('ctr', ['--address', address, ...args]);

  let stop = await spawnDaemon();
  return {
    address,
    folder,
    root,
    ctr,
    /** Puts a blob into the content store. */
    async ingest(namespace: string, digest: string, bytes: Uint8Array) {
      const args = ['--address', address, '--namespace', namespace, 'content', 'ingest', '--expected-digest', digest];
      await run('ctr', [...args, `test-${digest}`], bytes);
      // What nothing points at goes with the next garbage collection, the first at containerd's start.
      await ctr('--namespace', namespace, 'content', 'label', digest, 'containerd.io/gc.root=test');
    },
    async restart(whileDown: () => Promise<void> = () => Promise.resolve()) {
      await stop();
      await whileDown();
      stop = await spawnDaemon();
    },
    async close() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type PrivateContainerd = Awaited<ReturnType<typeof startContainerd>>;
