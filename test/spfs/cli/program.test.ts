import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { packageRoot } from '../../../src/package.js';

/** The program from its source, without containerd. Each start takes seconds on a busy machine. */
describe('spfs', { timeout: 60_000 }, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spfs-cli-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  function start(args: readonly string[], more: Readonly<Record<string, string>> = {}) {
    const program = join(packageRoot(), 'cmd', 'spfs', 'main.ts');
    const env = {
      ...{ PATH: process.env['PATH'], HOME: folder, SPFS_STORAGE_ROOT: join(folder, 'store') },
      ...{ CONTAINERD_ADDRESS: join(folder, 'none.sock'), ...more },
    };
    return spawn(process.execPath, ['--import', 'tsx', program, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  }

  async function resultOf(child: ReturnType<typeof start>) {
    const [stderr, exit] = await Promise.all([text(child.stderr), once(child, 'exit')]);
    return { code: exit[0] as unknown, stderr };
  }

  function ended(args: readonly string[], more: Readonly<Record<string, string>> = {}) {
    return resultOf(start(args, more));
  }

  it.each(['info', '--help', 'run --help'])('says nothing when its output has no reader: %s', async (line) => {
    const child = start(line.split(' '));
    // Long before the program is loaded.
    child.stdout.destroy();
    expect(await resultOf(child)).toEqual({ code: 0, stderr: '' });
  });

  it('ends with 2 for a setting that is not valid, wherever it stands', async () => {
    const config = join(folder, 'wrong.toml');
    await writeFile(config, '[vm]\nmemory = "lots"\n');
    const wrong = [
      await ended(['run', '-', '--memory', 'lots', '--', 'true']),
      await ended(['run', '-', '--', 'true'], { SPFS_VM_MEMORY: 'lots' }),
      await ended(['run', '-', '--config', config, '--', 'true']),
    ];
    const says = (where: string) => ({
      code: 2,
      stderr: expect.stringContaining(`spfs: ${where}: "lots" is not a`) as unknown,
    });
    expect(wrong).toEqual([
      says('flag --memory'),
      says('environment SPFS_VM_MEMORY'),
      says(`file ${config} key vm.memory`),
    ]);
  });

  it('passes over unknown keys of both files with one warning', async () => {
    const home = join(folder, 'home');
    await mkdir(join(home, '.config', 'spfs'), { recursive: true });
    await writeFile(
      join(home, '.config', 'spfs', 'spfs.toml'),
      '[storage]\nrot = "/y"\ndigest_strategy = "Legacy"\n[new]\na = 1\n',
    );
    const { code, stderr } = await ended(['tags'], { HOME: home });
    const [warning, ...more] = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect([code, more]).toEqual([0, []]);
    const keys = [/spfs\.toml: storage\.rot \(did you mean storage\.root\?\)$/, /spfs\.toml: new$/];
    expect(warning).toMatchObject({ level: 'warn', keys: keys.map((key) => expect.stringMatching(key) as unknown) });
  });

  it.each([
    [['tag', 'a', 'bad tag'], 'tag "bad tag", character 4: a tag has no white space\nnext: a tag is [org/'],
    [
      ['tag', '-', 'a'],
      '- is the empty environment, and a tag names one layer or platform\nnext: give a tag or a digest',
    ],
    [['tag', 'a+b', 'c'], 'a+b is 2 objects, and a tag names one layer or platform\nnext: '],
    [['untag', 'a'], `containerd does not answer at `],
  ])('ends with 125, and says what is wrong: %j', async (args, message) => {
    expect(await ended(args)).toEqual({ code: 125, stderr: expect.stringContaining(`spfs: ${message}`) as unknown });
  });
});
