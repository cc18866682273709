import { readdir } from 'node:fs/promises';
import { CodedError } from '../errors.js';
import { listXattrs } from '../host/index.js';

/** The attributes in which an overlay keeps its notes: `trusted.overlay.*`, or `user.overlay.*` when it is mounted with `userxattr`. */
export type OverlayNotes = 'trusted' | 'user';

/** What an overlay wrote over the layers below it. */
export interface Upper {
  readonly path: string;
  readonly notes: OverlayNotes;
  /** Bytes that the holes of its files may have, all in all, when they become zeros of a layer; no limit without it. */
  readonly mostHoleBytes?: number;
}

/** A note of overlay's own; one more `overlay.` is how an overlay inside it is stored. */
const ownNote = /^(trusted|user)\.overlay\.(?!overlay\.)/;

/**
 * Whose the notes are. An overlay writes one kind, and programs in it cannot write that kind: what they write of it is stored
 * with one more `overlay.`. So a trusted note proves that `user.overlay.*` is a user's, who may write there what they like. From
 * Linux 6.6 on the upper's root says it (`uuid`), from before everything that was copied up (`origin`).
 */
export async function overlayNotes(upper: string): Promise<OverlayNotes> {
  let notes: OverlayNotes = 'trusted';
  for await (const path of everythingIn(Buffer.from(upper))) {
    const kinds = listXattrs(path).map((name) => ownNote.exec(name)?.[1]);
    if (kinds.includes('trusted')) return 'trusted';
    if (kinds.includes('user')) notes = 'user';
  }
  return notes;
}

async function* everythingIn(root: Buffer): AsyncGenerator<Buffer> {
  yield root;
  const pending = [root];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for (const entry of await readdir(folder, { withFileTypes: true, encoding: 'buffer' })) {
      const path = Buffer.concat([folder, slash, entry.name]);
      yield path;
      if (entry.isDirectory()) pending.push(path);
    }
  }
}

const slash = Buffer.from('/');

/** What any disk of a guest may have in holes. */
const usualHoleBytes = 4 * 1024 ** 3;

/**
 * A guest's file may read as more bytes than any disk has and hold none. Where holes become zeros, they are bounded by the size
 * of the disk that the guest was given, or 4 GiB.
 *
 * @param diskBytes the size of the guest's disk
 */
export function mostHoleBytes(diskBytes: number): number {
  return Math.max(usualHoleBytes, diskBytes);
}

/** The holes of one upper's files, added up. */
export class Holes {
  readonly #most: number;
  #bytes = 0;

  constructor(most = Infinity) {
    this.#most = most;
  }

  /** @throws CodedError `resource-exhausted` when they are more than the upper may have */
  add(path: Buffer, { size, blocks }: { readonly size: number; readonly blocks: number }): void {
    this.#bytes += Math.max(0, size - blocks * 512);
    if (this.#bytes <= this.#most) return;
    const message = `${JSON.stringify(path.toString())} is too large: files read as ${size} bytes and hold ${blocks * 512}`;
    throw new CodedError('resource-exhausted', `${message}, so that holes would fill the disk`, {
      facts: { path: path.toString(), size, heldBytes: blocks * 512, mostHoleBytes: this.#most },
      next: 'remove that sparse file in the container, or give the container a larger disk',
    });
  }
}
