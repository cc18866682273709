import { open } from 'node:fs/promises';

/** Where the set-up header of an x86 image lies: the kernel's Documentation/arch/x86/boot.rst. */
const magicAt = 0x202;
const versionOffsetAt = 0x20e;
const versionBase = 0x200;
const headBytes = 0x10000;

/** What a kernel image can begin with, or have in its head: x86, ELF (PVH), arm64, EFI, or one of these compressed. */
const heads: readonly (readonly [at: number, text: string])[] = [
  [magicAt, 'HdrS'],
  [0, '\x7fELF'],
  [0x38, 'ARM\x64'],
  [0, 'MZ'],
  [0, '\x1f\x8b'],
];

/** Whether a file can be a kernel at all. What QEMU says of one that cannot is misleading. */
export async function isKernelImage(path: string): Promise<boolean> {
  const head = await headOf(path);
  return heads.some(([at, text]) => head.toString('latin1', at, at + text.length) === text);
}

/** The release that a kernel image says it is, as `uname -r` has it; undefined for images that do not say so in the clear. */
export async function releaseOf(vmlinuz: string): Promise<string | undefined> {
  const head = await headOf(vmlinuz);
  if (head.toString('latin1', magicAt, magicAt + 4) !== 'HdrS') return undefined;
  const at = head.readUInt16LE(versionOffsetAt) + versionBase;
  return /^[^ \0]+/.exec(head.toString('latin1', at, at + 256))?.[0];
}

async function headOf(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const head = Buffer.alloc(headBytes);
    await file.read(head, 0, head.length, 0);
    return head;
  } finally {
    await file.close();
  }
}
