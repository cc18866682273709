/** A member of an initramfs. Folders come before what they hold; hard links are not offered. */
export interface CpioMember {
  /** Path below the root, without a leading slash. */
  readonly name: string;
  /** Type and permission bits as in `st_mode`. */
  readonly mode: number;
  readonly content?: Uint8Array;
  /** Device number of a device node. */
  readonly device?: readonly [major: number, minor: number];
}

export const folderMode = 0o040755;
export const programMode = 0o100755;
export const fileMode = 0o100644;
export const characterDeviceMode = 0o020600;

/**
 * A cpio archive in the "new ASCII" format (magic 070701), as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
 * describes it. Equal members give equal bytes: inode numbers count from 1, owner and times are 0.
 */
export function cpioArchive(members: readonly CpioMember[]): Buffer {
  const parts = members.flatMap((member, index) => record(member, index + 1));
  parts.push(...record({ name: 'TRAILER!!!', mode: 0 }, 0));
  return Buffer.concat(parts);
}

function record(member: CpioMember, inode: number): Uint8Array[] {
  const name = Buffer.from(`${member.name}\0`);
  const content = member.content ?? new Uint8Array(0);
  const [major, minor] = member.device ?? [0, 0];
  const noOwner = [0, 0];
  const oneLinkNoTime = [1, 0];
  const noDevice = [0, 0];
  const noChecksum = 0;
  const fields = [
    inode,
    member.mode,
    ...noOwner,
    ...oneLinkNoTime,
    content.length,
    ...noDevice,
    major,
    minor,
    name.length,
    noChecksum,
  ];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return [header, name, padding(header.length + name.length), content, padding(content.length)];
}

function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4);
}
