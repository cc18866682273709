import { malformed, shown } from './block.js';

export type Xattrs = ReadonlyMap<string, Buffer>;

/** Linux's limit for the name of an extended attribute. */
const nameMax = 255;
/** EROFS stores the length of a value in 16 bits. */
const valueMax = 65_535;
/** EROFS counts an inode's attributes in units of four bytes, in 16 bits; the first twelve bytes are a header. */
const totalMax = 4 * 65_535 - 12;

export const opaqueXattr = 'trusted.overlay.opaque';
/** Its presence tells overlayfs to look for whiteouts where only one layer has the folder (Linux b79e05aaa166). */
export const originXattr = 'trusted.overlay.origin';

/**
 * The extended attributes that a file is to have: those that Linux keeps for such a file. What it has no place for, containerd passes over
 * too. What overlayfs would believe is a layer's to say by its whiteouts alone, so it is left out, unless it is nested.
 *
 * @param holder an attribute of a user's can be on a file or folder alone
 * @throws CodedError `invalid-argument` for what Linux or EROFS cannot hold
 */
export function keptXattrs(
  given: Xattrs | undefined,
  holder: 'file or folder' | 'other',
  offset: number,
): Xattrs | undefined {
  if (!given) return undefined;
  const kept = new Map<string, Buffer>();
  let total = 0;
  for (const [name, value] of given) {
    if (name === '' || name.length > nameMax) {
      throw malformed(`the name of extended attribute ${shown(name)} is not 1 to ${nameMax} bytes long`, offset);
    }
    if (!isKept(name, holder, offset)) continue;
    if (value.length > valueMax) {
      throw malformed(
        `extended attribute ${shown(name)} is ${value.length} bytes long, and EROFS holds ${valueMax}`,
        offset,
      );
    }
    total += Math.ceil((4 + name.length + value.length) / 4) * 4;
    kept.set(name, value);
  }
  checkTotal(total, offset);
  return kept.size > 0 ? kept : undefined;
}

/** Of one key the later value counts. @throws CodedError `invalid-argument` when they are too many together */
export function joinXattrs(first: Xattrs | undefined, second: Xattrs | undefined, offset: number): Xattrs | undefined {
  if (!first || !second) return first ?? second;
  const joined = new Map([...first, ...second]);
  let total = 0;
  for (const [name, value] of joined) total += Math.ceil((4 + name.length + value.length) / 4) * 4;
  checkTotal(total, offset);
  return joined;
}

function isKept(name: string, holder: 'file or folder' | 'other', offset: number): boolean {
  if (name.startsWith('user.') && holder === 'other') return false;
  if (['user.', 'security.'].includes(name)) {
    throw malformed(`the extended attribute ${shown(name)} has no name`, offset);
  }
  if (name.startsWith('user.')) return true;
  if (name.startsWith('security.')) return true;
  if (name.startsWith('trusted.overlay.')) return name.startsWith('trusted.overlay.overlay.');
  if (name.startsWith('trusted.')) return name !== 'trusted.';
  return holder === 'file or folder' && (name === 'system.posix_acl_access' || name === 'system.posix_acl_default');
}

function checkTotal(bytes: number, offset: number): void {
  if (bytes <= totalMax) return;
  throw malformed(`the entry has ${bytes} bytes of extended attributes, and EROFS holds ${totalMax}`, offset);
}
