import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { parseDescriptor, renderDescriptor, verifyDescriptor, type Disk } from '../../src/vmdk/descriptor.js';

const fixture = (name: string) => readFile(new URL(`fixtures/${name}.vmdk`, import.meta.url), 'utf8');
const layer = (n: number, bytes = 8192): Disk => ({
  path: `/snapshots/${n}/sha256-${String(n).padStart(64, '0')}.erofs`,
  bytes,
});
const GiB = 1024 ** 3;

const cases: [string, readonly Disk[]][] = [
  ['one-disk', [{ path: '/snapshots/1/layer.erofs', bytes: 4096 }]],
  ['two-disks', [{ path: '/snapshots/2/fsmeta.erofs', bytes: 4096 }, layer(1)]],
  [
    'split-extents',
    [
      { path: '/snapshots/4/fsmeta.erofs', bytes: 12288 },
      layer(1, 2 * GiB),
      layer(2, 2 * GiB + 4096),
      layer(3, 5 * GiB),
    ],
  ],
  ['odd-paths', [{ path: "/a root/it's 100%, ünïcode=ok:\\x/fsmeta.erofs", bytes: 4096 }, layer(1)]],
];

describe('a VMDK descriptor', () => {
  it.each(cases)('of %s is, byte for byte, the golden one, and is read back', async (name, disks) => {
    const text = renderDescriptor(disks);
    expect(text).toBe(await fixture(name));
    expect(() => verifyDescriptor(text, disks)).not.toThrow();
    const sectors = parseDescriptor(text).reduce((sum, extent) => sum + extent.sectors, 0);
    expect(sectors * 512).toBe(disks.reduce((sum, { bytes }) => sum + bytes, 0));
  });

  it('splits at 0x80000000 bytes, without gap or overlap', () => {
    const extents = parseDescriptor(renderDescriptor([layer(1, 5 * GiB)]));
    expect(extents.map(({ sectors, offset }) => [offset, sectors])).toEqual([
      [0, 4_194_304],
      [4_194_304, 4_194_304],
      [8_388_608, 2_097_152],
    ]);
  });

  it('has a content ID that QEMU does not reserve, and that follows from the disks', () => {
    const ids = Array.from({ length: 200 }, (_, n) => /^CID=(.*)$/m.exec(renderDescriptor([layer(n)]))?.[1] ?? '');
    for (const id of ids) expect(id).toMatch(/^(?!ffffff)[0-9a-f]{8}$/);
    expect(new Set(ids).size).toBe(200);
  });

  it.each(['relative/layer.erofs', '/a"b', '/a\nb', '/a\u0000b', '/a\u007fb', '/a\rb', `/${'x'.repeat(511)}`, ''])(
    'refuses the path %j',
    (path) => {
      expect(() => renderDescriptor([{ path, bytes: 4096 }])).toThrow(
        expect.objectContaining({ code: 'invalid-argument' }),
      );
    },
  );

  it.each([0, -4096, 511, 4096.5, Number.NaN, Infinity])('refuses the size %d', (bytes) => {
    expect(() => renderDescriptor([{ path: '/a', bytes }])).toThrow(
      expect.objectContaining({ code: 'invalid-argument' }),
    );
  });

  it('refuses to become longer than QEMU reads', () => {
    const disks = Array.from({ length: 3000 }, (_, n) => ({ path: `/${'x'.repeat(400)}/${n}`, bytes: 4096 }));
    expect(() => renderDescriptor(disks)).toThrow(expect.objectContaining({ code: 'failed-precondition' }));
  });

  it.each([
    'other-order',
    'other-size',
    'other-offset',
    'other-path',
    'missing-extent',
    'surplus-extent',
    'cut-off',
    'empty',
    'blank-line-before-extents',
    'sparse-type',
  ])('that is bad (%s) does not fit its disks', async (name) => {
    const text = await fixture(`bad/${name}`);
    const disks = [{ path: '/snapshots/2/fsmeta.erofs', bytes: 4096 }, layer(1), layer(2)];
    expect(() => verifyDescriptor(text, disks)).toThrow(expect.objectContaining({ code: 'data-loss' }));
    expect(() => verifyDescriptor(renderDescriptor(disks), disks)).not.toThrow();
  });
});
