import { execFileSync } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, realpath, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CodedError } from '../../../src/errors.js';
import { hostSpecFiles, parseEnvSpec, type SpecFiles } from '../../../src/spfs/grammar/index.js';
import { largestSpecFile } from '../../../src/spfs/grammar/spec-file.js';

async function temporaryFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'erofs-snapshotter-')));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

/** The message of the error, with the folder as `DIR`. */
async function refusal(spec: string, folder: string, files: SpecFiles = hostSpecFiles(folder)): Promise<string> {
  const error: unknown = await parseEnvSpec(spec, files).then(
    () => expect.fail('it was taken'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CodedError)) throw error;
  return error.advice.replaceAll(folder, 'DIR');
}

const run = (...items: readonly string[]) =>
  `api: spfs/v0/runspec\nlayers:\n${items.map((item) => `  - ${item}\n`).join('')}`;

describe('the files of the machine', () => {
  it('are read: run specs, a directory, a live layer with a file and a folder', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'game/repo'), { recursive: true });
    await writeFile(join(folder, 'game/tool.conf'), '');
    const binds = '  - {bind: repo, dest: game}\n  - {src: tool.conf, dest: /spfs/etc/tool.conf}\n';
    await writeFile(join(folder, 'game/layer.spfs.yaml'), `api: v0/layer\ncontents:\n${binds}`);
    await writeFile(join(folder, 'run.spfs.yaml'), run('base', join(folder, 'game')));
    const items = await parseEnvSpec(`${folder}/run.spfs.yaml + top`, hostSpecFiles());
    expect(items.map((item) => (item.kind === 'live-layer' ? item.layer.binds : item.source.text))).toEqual([
      'base',
      [
        { source: join(folder, 'game/repo'), destination: '/spfs/game' },
        { source: join(folder, 'game/tool.conf'), destination: '/spfs/etc/tool.conf' },
      ],
      'top',
    ]);
  });

  it('that are missing or no files are refused, without waiting for the writer of a pipe', async () => {
    const folder = await temporaryFolder();
    execFileSync('mkfifo', [join(folder, 'pipe.spfs.yaml')]);
    const server = createServer().listen(join(folder, 'socket.spfs.yaml'));
    onTestFinished(() => void server.close());
    await new Promise((done) => server.once('listening', done));
    await symlink('/dev/null', join(folder, 'null.spfs.yaml'));
    const is = 'name a spec file, or a directory with one';
    expect(await refusal(`${folder}/pipe.spfs.yaml`, folder)).toBe(
      `env spec "DIR/pipe.spfs.yaml": DIR/pipe.spfs.yaml is a named pipe; ${is}`,
    );
    expect(await refusal(`${folder}/socket.spfs.yaml`, folder)).toContain('socket.spfs.yaml is a socket; ');
    expect(await refusal(`${folder}/null.spfs.yaml`, folder)).toContain('null.spfs.yaml is a character device; ');
    expect(await refusal('/dev/null', folder)).toContain('/dev/null is a character device; ');
    expect(await refusal('/dev', folder)).toContain('the directory /dev has no layer.spfs.yaml; ');
    expect(await refusal(`${folder}/gone`, folder)).toContain(': there is no DIR/gone; ');
  });

  it('of a live layer that are neither files nor folders are refused', async () => {
    const folder = await temporaryFolder();
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    await writeFile(join(folder, 'layer.spfs.yaml'), 'api: v0/layer\ncontents:\n  - bind: pipe\n    dest: pipe\n');
    expect(await refusal(folder, folder)).toBe(
      'DIR/layer.spfs.yaml:3: contents[0].bind: DIR/pipe is a named pipe; bind a file or a directory',
    );
  });

  it('that became a pipe after they were looked at are refused at once', async () => {
    const folder = await temporaryFolder();
    execFileSync('mkfifo', [join(folder, 'pipe.spfs.yaml')]);
    const files = hostSpecFiles();
    const lying: SpecFiles = { ...files, stat: () => Promise.resolve({ kind: 'file', size: 10 }) };
    expect(await refusal(`${folder}/pipe.spfs.yaml`, folder, lying)).toContain('cannot be read: it is a named pipe');
    await expect(files.read(join(folder, 'pipe.spfs.yaml'), 10)).rejects.toThrow('it is a named pipe');
  });

  it('are read up to the limit, and no further', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'a');
    await writeFile(path, '0123456789');
    const files = hostSpecFiles();
    expect(Buffer.from(await files.read(path, 4)).toString()).toBe('0123');
    expect(Buffer.from(await files.read(path, 10)).toString()).toBe('0123456789');
    expect(Buffer.from(await files.read(path, 1000)).toString()).toBe('0123456789');
    expect((await files.read('/dev/../proc/self/status', 5)).length).toBe(5); // says that it has no bytes
    await expect(files.read(folder, 10)).rejects.toThrow('it is a directory');
  });

  it('are resolved as the kernel does it: the folder above a link is that of its target', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'a/b'), { recursive: true });
    await mkdir(join(folder, 'c'));
    await symlink('a/b', join(folder, 'link'));
    const files = hostSpecFiles();
    expect(await files.realpath(`${folder}/link/..`)).toBe(join(folder, 'a'));
    expect(await files.realpath(`${folder}/link/../c`)).toBeUndefined();
  });
});

describe('a large spec file', () => {
  it('of 10 MB is refused by its size, unread', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'big.spfs.yaml');
    await writeFile(path, '');
    await truncate(path, 10_000_000);
    const files: SpecFiles = { ...hostSpecFiles(), read: () => Promise.reject(new Error('it was read')) };
    const spec = `base+${path}`;
    expect(await refusal(spec, folder, files)).toBe(
      `env spec "base+DIR/big.spfs.yaml", character 6: DIR/big.spfs.yaml has 10000000 bytes: a spec file has at most ${largestSpecFile}; check that this is the right file`,
    );
  });

  it('that grew since it was looked at is refused, and never read whole', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'growing.spfs.yaml');
    await writeFile(path, run('base'));
    const host = hostSpecFiles();
    const asked: number[] = [];
    const files: SpecFiles = {
      ...host,
      read: async (file, mostBytes) => {
        await truncate(path, 50_000_000);
        asked.push(mostBytes);
        return host.read(file, mostBytes);
      },
    };
    expect(await refusal(path, folder, files)).toContain(`has more than ${largestSpecFile} bytes: `);
    expect(asked).toEqual([largestSpecFile + 1]);
  });

  it('of exactly the limit is read', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'full.spfs.yaml');
    const text = run('base');
    await writeFile(path, text);
    await appendFile(path, `#${'x'.repeat(largestSpecFile - text.length - 1)}`);
    expect(await parseEnvSpec(path, hostSpecFiles())).toHaveLength(1);
    await appendFile(path, 'x');
    expect(await refusal(path, folder)).toContain(`has ${largestSpecFile + 1} bytes`);
  });
});

describe('what the filesystem refuses', () => {
  const denied = (path: string) =>
    Promise.reject(Object.assign(new Error(`EACCES: permission denied, open '${path}'`), { code: 'EACCES' }));
  const advice = 'check its permissions, and those of the folders above it';

  it('is told with the place that asked for it', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'run.spfs.yaml'), run('base', `${folder}/secret.spfs.yaml`));
    await writeFile(join(folder, 'secret.spfs.yaml'), run('base'));
    const host = hostSpecFiles();
    const secret = (path: string) => path.endsWith('secret.spfs.yaml');
    for (const call of ['stat', 'read', 'realpath'] as const) {
      const ask = host[call] as (path: string, more: number) => Promise<never>;
      const files: SpecFiles = {
        ...host,
        [call]: (path: string, more: number) => (secret(path) ? denied(path) : ask(path, more)),
      };
      expect(await refusal(`${folder}/run.spfs.yaml`, folder, files)).toBe(
        `DIR/run.spfs.yaml:4: layers[1]: "DIR/secret.spfs.yaml": DIR/secret.spfs.yaml cannot be read: EACCES: permission denied; ${advice}`,
      );
    }
  });

  it('is told with the bind that leads there', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'layer.spfs.yaml'), 'api: v0/layer\ncontents:\n  - bind: secret\n    dest: a\n');
    const host = hostSpecFiles();
    const files: SpecFiles = {
      ...host,
      realpath: (path) => (path.endsWith('/secret') ? denied(path) : host.realpath(path)),
    };
    expect(await refusal(folder, folder, files)).toBe(
      `DIR/layer.spfs.yaml:3: contents[0].bind: DIR/secret cannot be read: EACCES: permission denied; ${advice}`,
    );
  });

  it('does not matter for a hint', async () => {
    const files: SpecFiles = { ...hostSpecFiles(), stat: denied };
    expect(await parseEnvSpec('base', files)).toHaveLength(1);
  });

  it('names a path that is too long', async () => {
    expect(await refusal(`/${'x/'.repeat(3000)}`, '/nowhere')).toMatch(
      /cannot be read: ENAMETOOLONG.*; use a shorter path$/,
    );
  });
});
