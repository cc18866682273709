import type { Region } from './sparse.js';

/** An entry of a layer's tar, put together from all the headers that speak of it. Names are byte strings (latin1). */
export interface TarEntry {
  /** Bytes from the start of the tar to its own header. */
  readonly offset: number;
  /** One character: `0` file, `1` hard link, `2` symlink, `3` character device, `4` block device, `5` folder, `6` fifo, `g` global header. */
  readonly type: string;
  readonly name: string;
  readonly link: string;
  /** Permission bits alone. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch, and nanoseconds beyond them. */
  readonly mtime: number;
  readonly mtimeNsec: number;
  /** Bytes of the file, with its holes. */
  readonly size: number;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Buffer> | undefined;
  /** Of a sparse file: what of it is stored. */
  readonly regions: readonly Region[] | undefined;
  /** Bytes that are stored. */
  readonly stored: number;
}
