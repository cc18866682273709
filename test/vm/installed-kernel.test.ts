import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';

import { findBusybox, findGuestKernel } from '../../src/vm/index.js';
import { temporaryFolder } from '../host/temporary.js';

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});

async function write(path: string, content: string | Buffer): Promise<string> {
  await mkdir(join(folder, path, '..'), { recursive: true });
  await writeFile(join(folder, path), content, { mode: 0o755 });
  return join(folder, path);
}

describe('the kernel of a guest', () => {
  it("has what it needs loaded before it, by depmod's list", async () => {
    const kernel = await write('vmlinuz', 'MZ kernel');
    await write(
      'lib/modules.dep',
      [
        'kernel/fs/erofs/erofs.ko.xz: kernel/lib/lz4.ko.xz kernel/fs/netfs.ko.xz',
        'kernel/drivers/block/virtio_blk.ko.xz:',
        'kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2.ko.xz',
        'kernel/fs/jbd2.ko.xz: kernel/lib/crc16.ko.xz',
        'kernel/lib/crc16.ko.xz:',
        'kernel/lib/lz4.ko.xz:',
        'kernel/fs/netfs.ko.xz:',
        'kernel/drivers/char/virtio-console.ko.xz:',
        'kernel/sound/sound.ko.xz:',
        '',
      ].join('\n'),
    );
    const found = await findGuestKernel({ kernel, modules: join(folder, 'lib') });
    const names = ['drivers/block/virtio_blk', 'drivers/char/virtio-console', 'lib/crc16', 'fs/jbd2', 'fs/ext4/ext4'];
    const modules = [...names, 'lib/lz4', 'fs/netfs', 'fs/erofs/erofs'].map((name) =>
      join(folder, 'lib', 'kernel', `${name}.ko.xz`),
    );
    expect(found).toEqual({ vmlinuz: kernel, modules });
  });

  it('does not turn in a circle that such a list has', async () => {
    const kernel = await write('vmlinuz', 'MZ kernel');
    await write('lib/modules.dep', 'erofs.ko: a.ko\na.ko: erofs.ko\n');
    const found = await findGuestKernel({ kernel, modules: join(folder, 'lib') });
    expect(found).toMatchObject({ modules: [join(folder, 'lib/a.ko'), join(folder, 'lib/erofs.ko')] });
  });

  it('brings the modules that lie beside it, as scripts/setup leaves them', async () => {
    const vmlinuz = await write('vmlinuz', 'MZ kernel');
    await write('modules/erofs.ko', 'module');
    const modulesOrder = await write('modules.order', 'erofs.ko\n');
    expect(await findGuestKernel({ kernel: vmlinuz })).toEqual({
      vmlinuz,
      modulesFolder: join(folder, 'modules'),
      modulesOrder,
    });
  });

  it('has everything built in when there are no modules', async () => {
    const vmlinuz = await write('vmlinuz', 'MZ kernel');
    expect(await findGuestKernel({ kernel: vmlinuz })).toEqual({ vmlinuz, modules: [] });
  });

  it('that is no kernel is refused', async () => {
    const kernel = await write('text', 'root:x:0:0:root:/root:/bin/bash\n');
    await expect(findGuestKernel({ kernel })).rejects.toMatchObject({
      code: 'invalid-argument',
      message: `${kernel} is not a kernel image`,
    });
  });

  it('that is not there is refused, and so is a folder without modules', async () => {
    await expect(findGuestKernel({ kernel: join(folder, 'none') })).rejects.toMatchObject({ code: 'unavailable' });
    const kernel = await write('vmlinuz', 'MZ kernel');
    await expect(findGuestKernel({ kernel, modules: folder })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('modules.dep') as string,
    });
  });
});

describe('the release of a guest kernel', () => {
  const lib = (name: string) => write(`lib/modules/${name}/modules.dep`, '');

  it.each(['6.4.0', '6.12.48+deb13-cloud-amd64', '10.0-rc1'])('%s serves', async (release) => {
    const kernel = await write('vmlinuz', bootImage(release));
    await lib(release);
    const modules = join(folder, 'lib/modules', release);
    expect(await findGuestKernel({ kernel, modules })).toEqual({ vmlinuz: kernel, modules: [] });
  });

  it.each(['6.3.13-generic', '5.15.0-25-generic', '2.6.32'])('%s is too old, by its image', async (release) => {
    const kernel = await write('vmlinuz', bootImage(release));
    await expect(findGuestKernel({ kernel })).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `the kernel ${kernel} is ${release}, which cannot mount a merged EROFS disk: 6.4 or later is needed`,
      next: 'name a newer kernel with --kernel, or as vm.kernel in spfs.toml',
    });
  });

  it('is too old, by its modules, where the image does not say', async () => {
    const kernel = await write('vmlinuz', 'MZ, an image of another architecture');
    await lib('6.1.0-37-arm64');
    const modules = join(folder, 'lib/modules/6.1.0-37-arm64');
    await expect(findGuestKernel({ kernel, modules })).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining(`${kernel} is 6.1.0-37-arm64, which cannot mount`) as string,
    });
  });

  it('is that of its modules', async () => {
    const kernel = await write('vmlinuz', bootImage('6.12.1'));
    await lib('6.12.2');
    const modules = join(folder, 'lib/modules/6.12.2');
    await expect(findGuestKernel({ kernel, modules })).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `the kernel ${kernel} is 6.12.1, but the modules in ${modules} are of 6.12.2`,
      next: 'name /lib/modules/6.12.1 as its modules',
    });
  });
});

describe('busybox', () => {
  it('is the given one when it needs no library', async () => {
    const path = await write('busybox', elf([1, 1, 4]));
    expect(await findBusybox(path)).toBe(path);
  });

  it.each([
    ['needs libraries', elf([6, 3, 1]), /needs libraries/],
    ['is a script', Buffer.from('#!/bin/sh\n'), /is not a program/],
  ])('that %s is refused', async (_, content, message) => {
    const path = await write('busybox', content);
    await expect(findBusybox(path)).rejects.toThrow(message);
  });

  it('that is not there is refused', async () => {
    await expect(findBusybox(join(folder, 'none'))).rejects.toMatchObject({ code: 'unavailable' });
  });
});

/** A 64-bit ELF header with program headers of these types. */
function elf(types: readonly number[]): Buffer {
  const bytes = Buffer.alloc(64 + 56 * types.length);
  bytes.writeUInt32BE(0x7f454c46, 0);
  bytes.writeUInt8(2, 4);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(types.length, 56);
  for (const [index, type] of types.entries()) bytes.writeUInt32LE(type, 64 + 56 * index);
  return bytes;
}

/** The head of an x86 image, as the kernel's Documentation/arch/x86/boot.rst has it: magic, and where the release stands. */
function bootImage(release: string): Buffer {
  const bytes = Buffer.alloc(0x1000);
  bytes.write('HdrS', 0x202, 'latin1');
  bytes.writeUInt16LE(0x500, 0x20e);
  bytes.write(`${release} (builder@host) #1 SMP\0`, 0x500 + 0x200, 'latin1');
  return bytes;
}
