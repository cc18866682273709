import { spawn } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it, onTestFinished } from 'vitest';
import { renderDescriptor, type Disk } from '../../src/vmdk/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';

/** The size in bytes that QEMU finds for the disk of a descriptor, or what it says instead. */
async function sizeInQemu(descriptor: string): Promise<number | string> {
  const program = process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
  const blockdev = {
    driver: 'vmdk',
    'node-name': 'disk',
    'read-only': true,
    file: { driver: 'file', filename: descriptor },
  };
  const args = [
    '-machine',
    'none',
    '-nodefaults',
    '-display',
    'none',
    '-S',
    '-qmp',
    'stdio',
    '-blockdev',
    JSON.stringify(blockdev),
  ];
  const qemu = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  onTestFinished(() => void qemu.kill('SIGKILL'));
  let complaint = '';
  qemu.stderr.on('data', (data) => (complaint += String(data)));
  for (const execute of ['qmp_capabilities', 'query-named-block-nodes', 'quit'])
    qemu.stdin.write(JSON.stringify({ execute }));
  for await (const line of createInterface(qemu.stdout)) {
    const { return: answer } = JSON.parse(line) as {
      return?: { 'node-name': string; image: { 'virtual-size': number } }[];
    };
    const node = Array.isArray(answer) ? answer.find((each) => each['node-name'] === 'disk') : undefined;
    if (node) return node.image['virtual-size'];
  }
  return complaint;
}

function makeDisk(path: string, bytes: number): Disk {
  writeFileSync(path, '');
  truncateSync(path, bytes);
  return { path, bytes };
}

requires('qemu')('QEMU', () => {
  it.each([
    ['128 layers with paths of 130 characters', 128, 130, 8192],
    ['layers with the longest paths that it reads', 3, 511, 8192],
    ['layers of 5 GiB', 3, 130, 5 * 1024 ** 3],
    ['1,000 layers', 1000, 130, 4096],
  ])('opens the descriptor of %s as one disk of their size', async (_, count, length, bytes) => {
    const folder = await temporaryFolder();
    let deep = folder;
    while (deep.length < length - 220) deep = join(deep, 'x'.repeat(199));
    mkdirSync(deep, { recursive: true });
    const disks = Array.from({ length: count }, (__, n) =>
      makeDisk(join(deep, `${n}-`.padEnd(length - deep.length - 1, 'y')), bytes),
    );
    expect(disks.every(({ path }) => path.length === length)).toBe(true);
    const descriptor = join(folder, 'merged.vmdk');
    writeFileSync(descriptor, renderDescriptor(disks));
    expect(await sizeInQemu(descriptor)).toBe(count * bytes);
  });
});
