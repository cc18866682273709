import { malformed, shown } from './tar-header.js';

/** Linux's limits for a path, a symbolic link's target and a name, in bytes; the first two without their final zero. */
const pathMax = 4095;
const nameMax = 255;

/** An entry's place in the tree: names without `.` and empty ones, so the root has none. Byte strings. */
export type TarPath = readonly string[];

/**
 * `/a`, `./a` and `a/` are all `a`, as containerd reads them.
 *
 * @throws SnapshotterError `invalid-argument` for a `..` anywhere and for what no Linux system could open
 */
export function parsePath(name: string, offset: number): TarPath {
  if (name.length > pathMax) {
    throw malformed(`the path ${shown(name)} is ${name.length} bytes long, and Linux allows ${pathMax}`, offset);
  }
  const path = name.split('/').filter((part) => part !== '' && part !== '.');
  for (const part of path) {
    if (part === '..') throw malformed(`the path ${shown(name)} leads upwards`, offset);
    if (part.length > nameMax) {
      throw malformed(`the name ${shown(part)} is ${part.length} bytes long, and Linux allows ${nameMax}`, offset);
    }
  }
  return path;
}

export function checkSymlinkTarget(target: string, offset: number): void {
  if (target.length >= 1 && target.length <= pathMax) return;
  throw malformed(`a symbolic link's target is ${target.length} bytes long, and Linux allows 1 to ${pathMax}`, offset);
}

const whiteoutPrefix = '.wh.';
/** Hides what older layers have in its folder. */
export const opaqueMarker = '.wh..wh..opq';

/**
 * What a whiteout removes, or undefined when the entry is none or only marks its folder opaque.
 *
 * @throws SnapshotterError `invalid-argument` for whiteouts that mkfs.erofs would make a damaged image of, or cannot convert
 */
export function whiteoutTarget(path: TarPath, type: string, offset: number): TarPath | undefined {
  const name = path.at(-1);
  if (!name?.startsWith(whiteoutPrefix)) return undefined;
  if (name === opaqueMarker) {
    if (path.length > 1) return undefined;
    throw malformed('the whiteout ".wh..wh..opq" hides everything below the root', offset);
  }
  const removed = name.slice(whiteoutPrefix.length);
  if (removed === '' || removed === '.' || removed === '..' || type === '1') {
    throw malformed(`the whiteout ${shown(path.join('/'))} removes nothing that has a name`, offset);
  }
  return [...path.slice(0, -1), removed];
}
