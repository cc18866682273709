import type { TarHeader } from './header.js';
import type { Region } from './sparse.js';

/** An entry of a layer's tar, put together from all the headers that speak of it. */
export interface TarEntry extends TarHeader {
  /** Bytes from the start of the tar to its own header. */
  readonly offset: number;
  /** Bytes of the file, with its holes. */
  readonly size: number;
  /** Nanoseconds beyond `mtime`. */
  readonly mtimeNsec: number;
  readonly xattrs: ReadonlyMap<string, Buffer> | undefined;
  /** Of a sparse file: what of it is stored. */
  readonly regions: readonly Region[] | undefined;
  /** Bytes that are stored. */
  readonly stored: number;
}
