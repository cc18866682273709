import { malformed, shown } from './block.js';
import { withinRoot } from './names.js';
import type { Folder, Node } from './nodes.js';

/** Links followed for one path, as containerd's `fs.RootPath` allows. */
const linksMax = 255;
/** Links followed in a row, as Linux allows. */
const rowMax = 40;
/** Names looked at for one layer; a large one of ordinary depth takes ten million, and these take a few seconds. */
const stepsMax = 30_000_000;
/** Bytes of a link's target, or names of a path, that are as much work to take apart as one name is to look at. */
const partsAStep = 16;

/** What a path leads to: nothing there, or something that has nothing below it. */
type Found = Node | 'nothing' | 'no folder';

/** Follows the links of a layer within it. */
export class Resolver {
  readonly #root: Folder;
  readonly #stepsMax: number;
  #steps = 0;

  constructor(root: Folder, max = stepsMax) {
    this.#root = root;
    this.#stepsMax = max;
  }

  /** Bounds the work that paths make. @throws CodedError `invalid-argument` */
  step(offset: number, steps = 1): void {
    this.#steps += steps;
    if (this.#steps > this.#stepsMax) throw malformed('its paths are too long and too many to be followed', offset);
  }

  /**
   * The path without links that a path means, by the rules of containerd's `fs.RootPath`: a link is followed within the layer,
   * `..` goes by the names and not by the folders, and what does not exist yet is no link.
   *
   * @param path a clean one
   * @throws CodedError `invalid-argument` for links in circles, and for what is below something that is no folder
   */
  resolve(path: string, offset: number): string {
    let parts = withinRoot([], path);
    for (let links = 0; ;) {
      const before = links;
      let above: string[] = [];
      let at: Found = this.#root;
      for (const name of parts) {
        this.step(offset);
        const node = this.#child(at, name);
        if (node === 'no folder') throw notBelow(path, offset);
        if (typeof node === 'object' && node.kind === 'leaf' && node.type === '2') {
          links += 1;
          if (links > linksMax) throw circular(path, offset);
          this.step(offset, (above.length + node.target.length) / partsAStep);
          above = withinRoot(above, node.target);
          at = this.#follow(above, offset);
        } else {
          above.push(name);
          at = node;
        }
      }
      parts = above;
      if (links === before) return parts.join('/');
    }
  }

  /** What stands at a path in which no link is followed. */
  find(path: string, offset: number): Node | undefined {
    let at: Found = this.#root;
    if (path === '') return at;
    for (const name of path.split('/')) {
      this.step(offset);
      at = this.#child(at, name);
    }
    return typeof at === 'object' ? at : undefined;
  }

  /** As Linux would, with the layer as its root. */
  #follow(parts: readonly string[], offset: number): Found {
    let left = [...parts].reverse();
    let above: string[] = [];
    let at: Found = this.#root;
    for (let row = 0; left.length > 0;) {
      this.step(offset);
      const name = left.pop() ?? '';
      const node = this.#child(at, name);
      if (typeof node === 'string') return node;
      if (node.kind === 'leaf' && node.type === '2') {
        row += 1;
        if (row > rowMax) throw circular(parts.join('/'), offset);
        this.step(offset, (above.length + node.target.length + left.length) / partsAStep);
        left = [...withinRoot(above, node.target), ...left.reverse()].reverse();
        above = [];
        at = this.#root;
      } else {
        above.push(name);
        at = node;
      }
    }
    return at;
  }

  #child(at: Found, name: string): Found {
    if (at === 'nothing' || at === 'no folder') return at;
    // What is gone from older layers can be made anew in this one.
    if (at.kind === 'whiteout') return 'nothing';
    if (at.kind === 'leaf') return 'no folder';
    return at.children?.get(name) ?? 'nothing';
  }
}

export function notBelow(path: string, offset: number): Error {
  return malformed(`${shown(path)} leads through something that is no folder`, offset);
}

function circular(path: string, offset: number): Error {
  return malformed(`${shown(path)} leads through too many links`, offset);
}
