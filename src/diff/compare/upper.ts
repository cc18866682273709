import { getXattr, listXattrs } from '../../host/index.js';
import type { Changes } from './changes.js';
import { childrenOf, joined, nodeAt, type Node, type Path } from './node.js';

/** Thrown when an upper refers to the layers below it, so that it does not say by itself what changed. */
export class UpperIsNotEnough extends Error {
  readonly attribute: string;

  constructor(place: Path, attribute: string) {
    super(`${place.toString()} has the attribute ${attribute}`);
    this.attribute = attribute;
  }
}

/**
 * `redirect`: the name or the content is elsewhere in the layers below; `metacopy`: only the attributes are here; `whiteout`: a
 * file stands for a whiteout (Linux 6.7 and later, written by tools alone).
 */
const references = /^(trusted|user)\.overlay\.(redirect|metacopy|whiteout)$/;

/** Reads an overlay upper (or a layer's EROFS image, which keeps the same marks): everything in it changed. */
export async function* changesOfUpper(root: string): Changes {
  const place = Buffer.from(root);
  yield* visit(Buffer.alloc(0), await nodeAt(place));
}

async function* visit(path: Path, node: Node): Changes {
  const marks = listXattrs(node.place);
  const reference = marks.find((name) => references.test(name));
  if (reference !== undefined) throw new UpperIsNotEnough(node.place, reference);
  if (isWhiteout(node)) {
    yield { kind: 'gone', path };
    return;
  }
  const opaque = isOpaque(node, marks);
  // A layer cannot say that nothing of the image is left.
  if (opaque && path.length === 0) throw new UpperIsNotEnough(node.place, 'opaque');
  yield { kind: 'present', path, node, opaque };
  if (!node.stat.isDirectory()) return;
  for await (const [name, child] of childrenOf(node.place)) yield* visit(joined(path, name), child);
}

function isWhiteout({ stat }: Node): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0n;
}

/**
 * An overlay mounted with `userxattr` marks with `user.overlay.opaque`. Any other does not, and may hold the storage of an
 * overlay inside it that did: where such an overlay copied the folder up, it says so by `trusted.overlay.origin`, and then the
 * mark is not its own.
 */
function isOpaque({ place, stat }: Node, marks: readonly string[]): boolean {
  if (!stat.isDirectory()) return false;
  const says = (name: string) => marks.includes(name) && getXattr(place, name)?.toString() === 'y';
  if (says('trusted.overlay.opaque')) return true;
  return says('user.overlay.opaque') && !marks.includes('trusted.overlay.origin');
}
