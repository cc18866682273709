import { open } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

import { errnoOf, CodedError } from '../errors.js';

const names = ['busybox', 'busybox.static', 'busybox-static'];
const next = 'install a static one (Debian and Ubuntu: busybox-static), or name it as vm.busybox in spfs.toml';

/** `PT_INTERP` of elf(5): the program header of a program that needs a dynamic linker. */
const interpreterHeader = 3;

/**
 * The static busybox of this machine's PATH. One that needs libraries would not start in a guest, which has none.
 *
 * @param given the path of one, which is then checked.
 * @throws CodedError `unavailable` when there is none, or only such as need libraries.
 */
export async function findBusybox(given?: string): Promise<string> {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder.startsWith('/'));
  const places = given === undefined ? folders.flatMap((folder) => names.map((name) => join(folder, name))) : [given];
  const found = { dynamic: undefined as string | undefined };
  for (const path of places) {
    const linked = await linkage(path);
    if (linked === 'static') return path;
    if (linked === 'dynamic') found.dynamic ??= path;
  }
  if (found.dynamic !== undefined) {
    throw new CodedError('unavailable', `${found.dynamic} needs libraries, which a guest does not have`, {
      facts: { path: found.dynamic },
      next,
    });
  }
  const missing = given === undefined ? 'a guest needs busybox, and it is not on PATH' : `${given} is not a program`;
  throw new CodedError('unavailable', missing, { next });
}

/** Reads the program headers of a 64-bit ELF file (elf(5)); undefined for anything else. */
async function linkage(path: string): Promise<'static' | 'dynamic' | undefined> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const header = Buffer.alloc(4096);
    const { bytesRead } = await file.read(header, 0, header.length, 0);
    if (bytesRead < 64 || header.readUInt32BE(0) !== 0x7f454c46 || header.readUInt8(4) !== 2) return undefined;
    const [offset, size, count] = [
      Number(header.readBigUInt64LE(32)),
      header.readUInt16LE(54),
      header.readUInt16LE(56),
    ];
    for (let index = 0; index < count; index += 1) {
      const at = offset + index * size;
      if (at + 4 > bytesRead) return undefined;
      if (header.readUInt32LE(at) === interpreterHeader) return 'dynamic';
    }
    return 'static';
  } catch (error) {
    if (errnoOf(error) === 'EISDIR') return undefined;
    throw error;
  } finally {
    await file.close();
  }
}
