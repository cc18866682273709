import { getXattr, listXattrs } from '../../host/index.js';
import type { OverlayNotes, Upper } from '../../layers/index.js';
import type { Changes } from './changes.js';
import { childrenOf, joined, nodeAt, type ComparedNode, type Path } from './node.js';

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
const references = {
  trusted: /^trusted\.overlay\.(redirect|metacopy|whiteout)$/,
  user: /^user\.overlay\.(redirect|metacopy|whiteout)$/,
};

/** Reads an overlay upper (or a layer's EROFS image, which keeps the same marks): everything in it changed. */
export async function* changesOfUpper({ path, notes }: Pick<Upper, 'path' | 'notes'>): Changes {
  yield* visit(Buffer.alloc(0), await nodeAt(Buffer.from(path)), notes);
}

async function* visit(path: Path, node: ComparedNode, notes: OverlayNotes): Changes {
  const marks = listXattrs(node.place);
  const reference = marks.find((name) => references[notes].test(name));
  if (reference !== undefined) throw new UpperIsNotEnough(node.place, reference);
  if (isWhiteout(node)) {
    yield { kind: 'gone', path };
    return;
  }
  const opaque = isOpaque(node, marks, notes);
  // A layer cannot say that nothing of the image is left; an overlay with notes of the user kind does not mark its root.
  if (opaque && path.length === 0 && notes === 'trusted') throw new UpperIsNotEnough(node.place, 'opaque');
  yield { kind: 'present', path, node, opaque: opaque && path.length > 0 };
  if (!node.stat.isDirectory()) return;
  for await (const [name, child] of childrenOf(node.place)) yield* visit(joined(path, name), child, notes);
}

function isWhiteout({ stat }: ComparedNode): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0n;
}

function isOpaque({ place, stat }: ComparedNode, marks: readonly string[], notes: OverlayNotes): boolean {
  const mark = `${notes}.overlay.opaque`;
  return stat.isDirectory() && marks.includes(mark) && getXattr(place, mark)?.toString() === 'y';
}
