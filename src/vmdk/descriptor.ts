import { createHash } from 'node:crypto';
import { CodedError } from '../errors.js';

/** A part of the flattened disk: an image file and how much of it shows. */
export interface Disk {
  /** Absolute. */
  readonly path: string;
  /** A multiple of 512. */
  readonly bytes: number;
}

/** One line of a descriptor; sectors are 512 bytes long. */
export interface Extent {
  readonly sectors: number;
  readonly path: string;
  /** Sectors from the start of the file. */
  readonly offset: number;
}

const sectorSize = 512;
/** 0x80000000 bytes: the most that an extent of `twoGbMaxExtentFlat` covers. */
const maximumExtentSectors = 0x80000000 / sectorSize;
const heads = 16;
const sectorsPerTrack = 63;

/** QEMU (block/vmdk.c, up to 10.1) cuts a longer path off, and reads no more than this of a descriptor. */
const maximumPathBytes = 511;
const maximumDescriptorBytes = 1024 * 1024 - 1;

/**
 * Renders a VMDK descriptor that shows `disks`, in their order, as one disk.
 *
 * @throws CodedError `invalid-argument` for a path that is not absolute, is too long or cannot be quoted, or a size that
 *   is not a positive multiple of 512; `failed-precondition` when the descriptor becomes longer than QEMU reads.
 */
export function renderDescriptor(disks: readonly Disk[]): string {
  const extents = disks.flatMap(extentsOf);
  const lines = extents.map(({ sectors, path, offset }) => `RW ${sectors} FLAT "${path}" ${offset}`);
  const total = extents.reduce((sum, { sectors }) => sum + sectors, 0);
  const text = [
    '# Disk DescriptorFile',
    'version=1',
    `CID=${contentId(lines)}`,
    'parentCID=ffffffff',
    'createType="twoGbMaxExtentFlat"',
    '',
    // No blank line may follow: QEMU would read the first extent twice.
    '# Extent description',
    ...lines,
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    'ddb.virtualHWVersion = "4"',
    `ddb.geometry.cylinders = "${Math.ceil(total / (heads * sectorsPerTrack))}"`,
    `ddb.geometry.heads = "${heads}"`,
    `ddb.geometry.sectors = "${sectorsPerTrack}"`,
    'ddb.adapterType = "ide"',
    '',
  ].join('\n');
  if (Buffer.byteLength(text) <= maximumDescriptorBytes) return text;
  throw new CodedError('failed-precondition', `a VMDK of ${extents.length} extents is longer than QEMU reads`, {
    facts: { extents: extents.length, maximumBytes: maximumDescriptorBytes },
    next: 'use a shorter root path or an image with fewer layers',
  });
}

function extentsOf({ path, bytes }: Disk): Extent[] {
  checkPath(path);
  if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes % sectorSize !== 0) {
    throw refused(path, `its size of ${bytes} bytes is not a positive multiple of ${sectorSize}`);
  }
  const total = bytes / sectorSize;
  const extents: Extent[] = [];
  for (let offset = 0; offset < total; offset += maximumExtentSectors) {
    extents.push({ sectors: Math.min(maximumExtentSectors, total - offset), path, offset });
  }
  return extents;
}

function checkPath(path: string): void {
  if (!path.startsWith('/')) throw refused(path, 'its path is not absolute');
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/["\u0000-\u001f\u007f]/.test(path)) throw refused(path, 'its path holds a quote or a control character');
  if (Buffer.byteLength(path) > maximumPathBytes) {
    throw refused(path, `its path is longer than the ${maximumPathBytes} bytes that QEMU reads`);
  }
}

function refused(path: string, why: string): CodedError {
  return new CodedError('invalid-argument', `${JSON.stringify(path)} cannot be part of a VMDK: ${why}`, {
    facts: { path },
  });
}

/** The content ID: any 8 hex digits but the reserved fffffffe and ffffffff. Taken from the extents, so that it never changes. */
function contentId(lines: readonly string[]): string {
  const id = createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 8);
  return id.startsWith('ffffff') ? `0${id.slice(1)}` : id;
}

const extentPattern = /^RW ([1-9]\d{0,14}) FLAT "([^"]+)" (0|[1-9]\d{0,14})$/;

/**
 * The extents of a descriptor that `renderDescriptor` wrote.
 *
 * @throws CodedError `data-loss` when it is not such a descriptor.
 */
export function parseDescriptor(text: string): Extent[] {
  if (!text.startsWith('# Disk DescriptorFile\n') || !text.includes('\ncreateType="twoGbMaxExtentFlat"\n')) {
    throw unfit('it does not begin as a descriptor of flat extents does');
  }
  if (!text.endsWith('\nddb.adapterType = "ide"\n')) throw unfit('its end is missing');
  // QEMU skips blank space before an extent line, so it would read the one after a blank line twice.
  if (/\n\s+RW /.test(text)) throw unfit('there is blank space before an extent line');
  const lines = text.split('\n').filter((line) => /^(RW|RDONLY|NOACCESS)\b/.test(line));
  return lines.map((line) => {
    const [, sectors, path, offset] = extentPattern.exec(line) ?? [];
    if (sectors === undefined || path === undefined || offset === undefined)
      throw unfit(`the extent line ${JSON.stringify(line)}`);
    return { sectors: Number(sectors), path, offset: Number(offset) };
  });
}

/**
 * Checks that a descriptor shows exactly `disks`, whole and in order.
 *
 * @throws CodedError `data-loss` when it does not.
 */
export function verifyDescriptor(text: string, disks: readonly Disk[]): void {
  const found = parseDescriptor(text);
  const expected = disks.flatMap(extentsOf);
  if (found.length !== expected.length) throw unfit(`it has ${found.length} extents instead of ${expected.length}`);
  for (const [index, { sectors, path, offset }] of expected.entries()) {
    const extent = found[index];
    if (extent?.path === path && extent.sectors === sectors && extent.offset === offset) continue;
    throw unfit(
      `its extent ${index + 1} shows something else than sectors ${offset} to ${offset + sectors} of ${path}`,
    );
  }
}

function unfit(how: string): CodedError {
  return new CodedError('data-loss', `this VMDK descriptor does not fit its layers: ${how}`, {
    next: 'remove the snapshot and pull its image again',
  });
}
