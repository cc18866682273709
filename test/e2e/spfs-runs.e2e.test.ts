import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { guestKernel } from '../../scripts/rig/kernel.js';
import { requires } from '../harness/requires.js';
import { spfsProgram } from './spfs-program.js';
import { type Followed, spfsNeeds, startSpfsWorld, type SpfsWorld } from './spfs-world.js';

/** A guest of one processor starts soonest where it is emulated. */
const small = { SPFS_VM_CPUS: '1', SPFS_VM_MEMORY: '256M' };
/** Until what was killed is gone. */
const soon = { timeout: 60_000, interval: 100 };

requires(...spfsNeeds)('spfs run', () => {
  let world: SpfsWorld;

  beforeAll(async () => {
    world = await startSpfsWorld();
    await world.pull();
    await world.write('layer/where', 'layer\n');
    await world.write('layer/dir/from', 'layer\n');
    await world.write('layer/big', Buffer.alloc(20_000_000, 'x'));
    await world.spfs('import', join(world.files, 'layer'), '--tag', 'demo/layer');
  });
  afterEach(async () => expect(await world.remains()).toEqual([]));
  afterAll(() => world.close());

  const run = (script: string, more = {}) => world.trySpfs(['run', 'demo/layer', '--', 'sh', '-c', script], more);
  const started = (script: string, refs = 'demo/layer') => world.follow(['run', refs, '--', 'sh', '-c', script], small);
  const booting = () => expect.poll(() => world.helpers('qemu-system'), soon).not.toEqual([]);

  async function killAll(which: string): Promise<void> {
    for (const pid of await world.helpers(which)) process.kill(pid, 'SIGKILL');
  }

  it('shows an image as the root with the stack on top, and gives the variables and the folder asked for', async () => {
    const script = `cat /etc/image-id /spfs/where; dd --version | grep -o coreutils; pwd
      echo "$A $INHERITED \${EMPTY-unset} \${ABSENT-unset}"; exit 5`;
    const options = ['--env', 'A=b=c', '--env', 'INHERITED', '--env', 'EMPTY', '--env', 'ABSENT', '--cwd', '/spfs/dir'];
    const args = ['run', '--root', world.name, ...options, 'demo/layer', '--', 'sh', '-c', script];
    const { stdout, stderr, exitCode } = await world.trySpfs(args, { ...small, INHERITED: 'in herited', EMPTY: '' });
    expect(stdout).toBe('demo\nlayer\ncoreutils\n/spfs/dir\nb=c in herited  unset');
    expect([stderr, exitCode]).toEqual(['', 5]);
  });

  it('gives live layers their places: over the stack, in another live layer, one file alone; changes show at once', async () => {
    await world.write('live/place/made-for-the-other', '');
    await world.write('live/place/other/hidden', '');
    const file = await world.write('live/one', 'old\n');
    await world.write(
      'live/layer.spfs.yaml',
      'api: spfs/v0/livelayer\ncontents: [{bind: one, dest: /spfs/where}, {bind: place, dest: dir}]\n',
    );
    await world.write('inner/x/deep', 'deep\n');
    await world.write('inner/layer.spfs.yaml', 'api: spfs/v0/livelayer\ncontents: [{bind: x, dest: dir/other}]\n');
    const script = `cat /spfs/where; ls /spfs/dir /spfs/dir/other; (echo x >/spfs/where) 2>/dev/null || echo read-only
      until grep new /spfs/where && cat /spfs/dir/other/later 2>/dev/null; do :; done; sleep 1000`;
    const refs = ['demo/layer', join(world.files, 'live'), join(world.files, 'inner')].join('+');
    const running = started(script, refs);
    await running.hear(/^old\n\/spfs\/dir:\nmade-for-the-other\nother\n\n\/spfs\/dir\/other:\ndeep\nread-only\n/);
    await world.write('inner/x/later', 'later\n');
    await world.write('live/one', 'new and longer\n');
    await running.hear(/new and longer\nlater\n/);
    expect(await readFile(file, 'utf8')).toBe('new and longer\n');

    // Without what serves them, the guest could only hang.
    await killAll('--socket-path');
    await running.hear(
      /spfs: virtiofsd, which shares the live layers, ended by SIGKILL[^]*\nnext: run it again; `dmesg`/,
    );
    expect(await running.ended).toMatchObject({ exitCode: 125 });
  });

  it('shows the live layer of the guide as it stands, whose first folder lacks the place of its second', async () => {
    await world.write('game/repo/main.c', 'main\n');
    await world.write('game/repo/.hidden dir/x', '');
    await world.write('game/data/assets/one', 'one\n');
    await world.write(
      'game/layer.spfs.yaml',
      `# ~/src/game/layer.spfs.yaml
api: spfs/v0/livelayer
contents:
  - bind: repo          # relative to the YAML file
    dest: /spfs/game
  - bind: data/assets
    dest: /spfs/game/assets
`,
    );
    const script = `ls -A /spfs/game; cat /spfs/game/main.c /spfs/game/assets/one; touch /spfs/game/x /spfs/game/assets/x
      until cat /spfs/game/assets/later && grep changed /spfs/game/main.c; do :; done 2>/dev/null`;
    const running = started(script, `demo/layer+${join(world.files, 'game')}`);
    await running.hear(/"level":"warn".* there is no \S+\/game\/repo\/assets: /);
    await running.hear(/\.hidden dir\nassets\nmain.c\nmain\none\n.*Read-only.*\n.*Read-only/);
    await world.write('game/repo/main.c', 'changed\n');
    await world.write('game/data/assets/later', 'later\n');
    await running.hear(/later\nchanged\n/);
    expect(await running.ended).toMatchObject({ exitCode: 0 });
  });

  it('says before anything boots where a live layer, and a command, have no place', async () => {
    const boots = { ...small, SPFS_VM_KERNEL: '/no/kernel' };
    for (const [name, bind, dest] of [
      ['outer', 'folder', 'a'],
      ['inner', 'folder', 'a/not-there'],
      ['over', 'folder', 'where'],
    ]) {
      await world.write(`${name}/folder/file`, '');
      const contents = `[{bind: ${bind}, dest: ${dest}}]`;
      await world.write(`${name}/layer.spfs.yaml`, `api: spfs/v0/livelayer\ncontents: ${contents}\n`);
    }
    const file = (name: string) => join(world.files, name);
    const run = (refs: string, ...options: readonly string[]) =>
      world.trySpfs(['run', refs, ...options, '--', 'true'], boots);
    const told = [
      await run(`${file('outer')}+${file('inner')}`),
      await run(`demo/layer+${file('over')}`),
      await run('demo/layer', '--cwd', '/spfs/none'),
      await run('demo/layer', '--cwd', '/none', '--root', world.name),
    ];
    expect(told.map(({ stderr, exitCode }) => [stderr, exitCode])).toEqual(
      [
        /inner\/layer\.spfs\.yaml: \/spfs\/a\/not-there has no place: .*outer\/layer\.spfs\.yaml.*\nnext: make \S+outer\/folder\/not-there, /,
        /over\/layer\.spfs\.yaml: \/spfs\/where is a file there, and a folder is bound, in the stack\nnext: choose/,
        /the working directory \/spfs\/none does not exist in the run\nnext: give a folder/,
        /the working directory \/none does not exist in the run\nnext: give a folder/,
      ].map((message) => [expect.stringMatching(message) as unknown, 125]),
    );
  });

  it('does not mind a reader that stops', async () => {
    const big = `"${spfsProgram}" cat demo/layer big | head -c 1 | wc -c; "${spfsProgram}" run demo/layer -- cat /spfs/big`;
    const script = `${big} | head -c 1; echo; "${spfsProgram}" cat demo/layer big | head -c 1; echo " \${PIPESTATUS[0]}"`;
    const { all } = await execa('bash', ['-c', script], { env: world.environment(small), all: true });
    expect(all).toBe('1\nx\nx 0');
  });

  describe('on a terminal', () => {
    /** In a terminal of util-linux's script: says its name, then the settings of the terminal before and after. */
    function inTerminal(...args: readonly string[]): Followed {
      const line = `tty; stty rows 31 cols 97; stty -g; "${spfsProgram}" ${args.join(' ')}; echo "code $?"; stty -g`;
      return world.follow(['-qec', line, '/dev/null'], { ...small, TERM: 'vt100' }, 'script');
    }

    const settings = /[\da-f]+(:[\da-f]+){9,}/;

    it('gives the shell keys, size and Ctrl-C, and gives the terminal back as it was', async () => {
      const terminal = inTerminal('shell', 'demo/layer');
      const [, name = ''] = await terminal.hear(/(\/dev\/pts\/\d+)/);
      const [before] = await terminal.hear(settings);
      await terminal.hear(/\/ # /);
      terminal.type('stty size; cat /spfs/where; echo $TERM; tty\r');
      await terminal.hear(/\n31 97\r+\nlayer\r+\nvt100\r+\n\/dev\/pts\/0\r+\n\/ # /);
      terminal.type(
        `sh -c "trap 'echo caught; exit 3' INT; echo wai''ting; while :; do sleep 0.1; done"; echo "was $?"\r`,
      );
      await terminal.hear(/\nwaiting/);
      terminal.type('\x03');
      await terminal.hear(/\^Ccaught\r+\nwas 3\r+\n/);
      terminal.type('until stty size | grep "^22 77"; do sleep 0.1; done; exit 9\r');
      await execa('stty', ['-F', name, 'rows', '22', 'cols', '77']);
      await terminal.hear(/\n22 77\r+\n[^]*code 9/);
      expect((await terminal.hear(settings))[0]).toBe(before);
      await terminal.ended;
    });

    it('starts a shell when no command is given; Ctrl-] three times ends a guest that does not listen', async () => {
      const terminal = inTerminal('run', 'demo/layer');
      const [before] = await terminal.hear(settings);
      await terminal.hear(/\/ # /);
      terminal.type(`trap "" INT; stty -isig; echo no''body; while :; do :; done\r`);
      await terminal.hear(/\nnobody/);
      terminal.type('\x03\x1d\x1d');
      terminal.type('x\x1d\x1d\x1d');
      await terminal.hear(/code 130/);
      expect((await terminal.hear(settings))[0]).toBe(before);
      await terminal.ended;
    });
  });

  describe('hands signals on:', () => {
    it('SIGINT and SIGTERM go to the command, which ends as it likes; a second SIGINT ends one that ignores it', async () => {
      // Side by side, since starting takes longest.
      const ignoring = started(`trap '' INT; echo up; while :; do sleep 0.1; done`);
      const running = started(
        `trap 'echo int' INT; trap 'echo term; exit 7' TERM; echo up; while :; do sleep 0.1; done`,
      );
      await running.hear(/up\n/);
      running.kill('SIGINT');
      await running.hear(/int\n/);
      running.kill('SIGTERM');
      await running.hear(/term\n/);
      expect(await running.ended).toMatchObject({ exitCode: 7 });

      await ignoring.hear(/up\n/);
      const interrupting = setInterval(() => ignoring.kill('SIGINT'), 200);
      const { exitCode } = await ignoring.ended;
      clearInterval(interrupting);
      expect([exitCode, ignoring.output]).toEqual([130, 'up\n']);
    });

    it('SIGTERM ends a guest that still boots', async () => {
      const running = started('echo up');
      await booting();
      running.kill('SIGTERM');
      expect([(await running.ended).exitCode, running.output]).toEqual([143, '']);
    });
  });

  describe('ends with an error of its own, and leaves nothing,', () => {
    it('when QEMU is killed', async () => {
      const running = started('echo up; sleep 1000');
      await running.hear(/up\n/);
      await killAll('qemu-system');
      await running.hear(
        /spfs: the guest ended without a report \(qemu-system-\w+ was killed by SIGKILL\)[^]*\nnext: run it/,
      );
      expect(await running.ended).toMatchObject({ exitCode: 125 });
    });

    it('when the guest does not start its command in time', async () => {
      const hanging = await readFile(guestKernel.vmlinuz);
      // A jump to itself: on x86 where the boot loader jumps to, on arm64 at the start of the image.
      if (process.arch === 'arm64') hanging.writeUInt32LE(0x14000000, 0);
      else hanging.writeUInt16LE(0xfeeb, 0x200);
      const kernel = await world.write('hanging', hanging);
      const more = { ...small, SPFS_VM_KERNEL: kernel, SPFS_VM_BOOT_TIMEOUT_SECONDS: '2' };
      const { exitCode, stderr } = await run('true', { ...more, SPFS_VM_ACCELERATOR: 'tcg' });
      expect(stderr).toMatch(
        /^spfs: the guest with the kernel \S+\/hanging did not start its command within 2 s.*\nnext: give it more time/s,
      );
      expect(exitCode).toBe(125);
    });

    it.each([
      ['is none', 'no kernel\n', /^spfs: \S+\/no-kernel is not a kernel image\nnext: name a kernel image/],
      [
        'only begins like one',
        'MZ\n',
        /^spfs: the guest with the kernel \S+\/no-kernel ended without a report.*\nnext: check/s,
      ],
    ])('when the kernel %s', async (_title, content, message) => {
      const kernel = await world.write('no-kernel', content);
      const { exitCode, stderr } = await run('true', { ...small, SPFS_VM_KERNEL: kernel, SPFS_VM_ACCELERATOR: 'tcg' });
      expect(stderr).toMatch(message);
      expect(exitCode).toBe(125);
    });
  });

  it('leaves what the next run removes when it is killed itself', async () => {
    await world.write('one-live/layer.spfs.yaml', 'api: spfs/v0/livelayer\ncontents: [{bind: ., dest: live}]\n');
    const killed = started('echo up; sleep 1000', `demo/layer+${join(world.files, 'one-live')}`);
    await killed.hear(/up\n/);
    killed.kill('SIGKILL');
    await killed.ended;
    await expect.poll(() => world.helpers(''), soon).toEqual([]);
    const left = [/^erofs-snapshotter-guest-/, /^spfs-run-/, /^spfs-run-.* View/];
    expect(await world.remains()).toEqual(left.map((each) => expect.stringMatching(each) as unknown));
    const next = started('echo up');
    await booting();
    next.kill('SIGTERM');
    await next.ended;
  });
});
