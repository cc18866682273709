import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { commandScript } from '../../src/vm/command.js';
import { cpioArchive, fileMode, folderMode } from '../../src/vm/cpio.js';
import { buildInitramfs } from '../../src/vm/initramfs.js';
import type { GuestSetup } from '../../src/vm/setup.js';

describe('the initramfs', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    await writeFile(join(folder, 'order'), 'b.ko\na.ko\n');
    for (const name of ['a.ko', 'b.ko', 'busybox']) await writeFile(join(folder, name), `\x7fELF of ${name}`);
  });
  afterAll(() => rm(folder, { recursive: true }));

  function content() {
    const kernel = { vmlinuz: '/none', modulesFolder: folder, modulesOrder: join(folder, 'order') };
    const setup: GuestSetup = {
      root: 'minimal',
      stack: false,
      shares: [],
      streams: { kind: 'plain', stdin: false, stderr: true },
    };
    return { kernel, busybox: join(folder, 'busybox'), disks: [], setup, command: { argv: ['true'] } };
  }

  it('has the bytes of the "new ASCII" format, member by member', () => {
    const archive = cpioArchive([
      { name: 'etc', mode: folderMode },
      { name: 'etc/a', mode: fileMode, content: Buffer.from('hello') },
    ]).toString('latin1');
    const zero = '00000000';
    const header = (inode: string, mode: string, links: string, size: string, nameSize: string) =>
      `070701${inode}${mode}${zero}${zero}${links}${zero}${size}${zero}${zero}${zero}${zero}${nameSize}${zero}`;
    expect(archive).toBe(
      [
        `${header('00000001', '000041ed', '00000001', zero, '00000004')}etc\0\0\0`,
        `${header('00000002', '000081a4', '00000001', '00000005', '00000006')}etc/a\0hello\0\0\0`,
        `${header(zero, zero, '00000001', zero, '0000000b')}TRAILER!!!\0\0\0\0`,
      ].join(''),
    );
  });

  it('is the same bytes for the same content', async () => {
    expect(await buildInitramfs(content())).toEqual(await buildInitramfs(content()));
  });

  it('names the file that is missing', async () => {
    await expect(buildInitramfs({ ...content(), busybox: join(folder, 'absent') })).rejects.toMatchObject({
      code: 'unavailable',
      message: `${join(folder, 'absent')} (a static busybox) is missing`,
    });
  });
});

describe('the command script', () => {
  it('is the words of fixtures/command.sh, quoted', async () => {
    const script = commandScript({ argv: ['/bin/sh', '-c', "echo 'it'", ''], env: { A: "b'c\n" }, cwd: '/etc' });
    await expect(script.toString()).toMatchFileSnapshot(join(import.meta.dirname, 'fixtures', 'command.sh'));
  });

  it('carries bytes that are not UTF-8', () => {
    expect(
      commandScript({ argv: ['x', Buffer.from([0xff, 0x81])] }).includes(Buffer.from([0x27, 0xff, 0x81, 0x27])),
    ).toBe(true);
  });

  it.each([
    ['no program', { argv: [] }],
    ['an empty program', { argv: [''] }],
    ['a NUL byte', { argv: ['a', 'b\0c'] }],
    ['"=" in the program', { argv: ['/a=b'] }],
    ['a variable without a name', { argv: ['a'], env: { '': 'b' } }],
    ['"=" in the name of a variable', { argv: ['a'], env: { 'a=': 'b' } }],
    ['a relative working directory', { argv: ['a'], cwd: 'etc' }],
  ])('refuses %s', (_, command) => {
    expect(() => commandScript(command)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });
});
