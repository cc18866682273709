import { open } from 'node:fs/promises';

/** Where the set-up header of an x86 image lies: the kernel's Documentation/arch/x86/boot.rst. */
const magicAt = 0x202;
const versionOffsetAt = 0x20e;
const versionBase = 0x200;
const headBytes = 0x10000;

/** The release that a kernel image says it is, as `uname -r` has it; undefined for images that do not say so in the clear. */
export async function releaseOf(vmlinuz: string): Promise<string | undefined> {
  const file = await open(vmlinuz);
  try {
    const head = Buffer.alloc(headBytes);
    await file.read(head, 0, head.length, 0);
    if (head.toString('latin1', magicAt, magicAt + 4) !== 'HdrS') return undefined;
    const at = head.readUInt16LE(versionOffsetAt) + versionBase;
    return /^[^ \0]+/.exec(head.toString('latin1', at, at + 256))?.[0];
  } finally {
    await file.close();
  }
}
