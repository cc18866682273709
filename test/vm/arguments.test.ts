import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { type Machine, qemuArguments } from '../../src/vm/arguments.js';
import type { Disk } from '../../src/vm/disks.js';

const merged: Disk = {
  place: 'root',
  role: 'merged',
  path: '/srv/a, "b"/merged.vmdk',
  format: 'vmdk',
  readOnly: true,
  serial: 'erofs-merged',
};
const writable: Disk = {
  place: 'root',
  role: 'writable',
  path: '/srv/rwlayer.img',
  format: 'raw',
  readOnly: false,
  serial: 'erofs-writable',
};
const machine: Machine = {
  architecture: 'x64',
  accelerator: 'tcg',
  memoryMiB: 512,
  vmlinuz: '/kernel/vmlinuz',
  initramfs: '/tmp/initramfs.cpio',
  disks: [merged, writable],
  ports: ['stdin', 'stdout', 'control'],
  token: '00ff',
};
const shared = { cpus: 2, name: 'a, b', shareSocket: '/tmp/a, b/live.sock' };
const fixture = (name: string) => join(import.meta.dirname, 'fixtures', name);

describe('the arguments of QEMU', () => {
  it.each<[string, Machine]>([
    ['x64-tcg.args', machine],
    ['arm64-kvm.args', { ...machine, ...shared, architecture: 'arm64', accelerator: 'kvm' }],
  ])('are those of fixtures/%s', async (name, given) => {
    await expect(`${qemuArguments(given).join('\n')}\n`).toMatchFileSnapshot(fixture(name));
  });

  it('give each of 200 disks a place of its own', () => {
    const disks = Array<Disk>(200).fill(merged);
    const places = qemuArguments({ ...machine, disks }).filter((item) => item.startsWith('virtio-blk'));
    expect(new Set(places.map((item) => /addr=[\da-f]+\.\d/.exec(item)?.[0])).size).toBe(200);
  });

  it('refuse more disks than there are places', () => {
    expect(() => qemuArguments({ ...machine, disks: Array<Disk>(217).fill(merged) })).toThrow(
      '217 disks are more than',
    );
  });

  it('refuse a processor without a known machine', () => {
    expect(() => qemuArguments({ ...machine, architecture: 'mips' })).toThrow(
      'guests are not known for the processor mips',
    );
  });
});
