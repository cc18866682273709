import { hexOf, type Digest } from '../vocabulary.js';

/** The name under which every snapshot's layer is found; a relative link when the layer has a digest. */
export const layerLinkName = 'layer.erofs';

const digestFilePattern = /^sha256-([0-9a-f]{64})\.erofs$/;

/** `sha256-<hex>.erofs`: the file of a layer whose descriptor's digest is known. */
export function layerFileName(digest: Digest): string {
  return `sha256-${hexOf(digest)}.erofs`;
}

/** The digest that a layer file's name states, or undefined for `layer.erofs` and foreign names. */
export function digestOfFileName(fileName: string): Digest | undefined {
  const hex = digestFilePattern.exec(fileName)?.[1];
  return hex === undefined ? undefined : `sha256:${hex}`;
}

/**
 * A layer's line in `layers.manifest`. VM runtimes compare it with the `device=` option of the same position, so the spelling
 * is a contract: `sha256:<hex>` for a file named after its digest, `blob:<file name>` for any other.
 */
export function manifestLine(fileName: string): string {
  return digestOfFileName(fileName) ?? `blob:${fileName}`;
}
