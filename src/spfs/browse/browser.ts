import { readFiles, writeContent, type ErofsFiles, type ErofsImage, type NamedFile } from '../../erofs/index.js';
import { CodedError } from '../../errors.js';
import type { Mount } from '../../vocabulary.js';
import { imageOf } from './image.js';
import { printableName } from './names.js';
import { belowStack, follow } from './walk.js';

/** One entry of what `ls` shows. Names and targets are byte strings (latin1). */
export interface Listing extends NamedFile {
  /** Where a symlink leads, as it is written. */
  readonly target?: string;
}

export interface CatOptions {
  /** An open descriptor that the contents are written to. */
  readonly output: number;
  readonly signal?: AbortSignal;
}

/** A reader may take its time: a pager, a slow network. Not longer than a timer can wait. */
const catDeadlineMs = 2 ** 31 - 1;

/** The files of a stack, read from its images without a mount. */
export class Browser {
  readonly #image: ErofsImage | undefined;
  readonly #reference: string;

  /**
   * @param reference what the stack is called, for messages
   * @param mounts the Mounts answer of a View, which keeps the images there meanwhile
   * @throws CodedError `failed-precondition` when the layers are not merged
   */
  constructor(reference: string, mounts: readonly Mount[]) {
    this.#reference = reference;
    this.#image = imageOf(mounts);
  }

  /**
   * What a directory holds, in the order of the names' bytes; any other file: itself, under the path that was given.
   *
   * @param path a byte string
   * @throws CodedError `not-found`; `data-loss` a damaged image
   */
  async list(path: string): Promise<readonly Listing[]> {
    if (this.#image === undefined) return emptyStack(this.#reference, path);
    return readFiles(this.#image, (files) => {
      const found = follow(files, this.#reference, path);
      if (found.file.kind !== 'directory') return [withTarget(files, { name: path, file: found.file })];
      return files.list(found.file).map((entry) => withTarget(files, entry));
    });
  }

  /**
   * Writes the contents of one file after another. Symlinks are followed.
   *
   * @param paths byte strings, all of them looked up before the first is written
   * @throws CodedError `not-found`; `failed-precondition` for what is not a regular file; `data-loss` a damaged image
   */
  async cat(paths: readonly string[], { output, signal }: CatOptions): Promise<void> {
    const image = this.#image;
    if (image === undefined) {
      for (const path of paths) emptyStack(this.#reference, path);
      throw notAFile(this.#reference, paths[0] ?? '', 'directory');
    }
    const found = await readFiles(image, (files) =>
      paths.map((path) => {
        const { file } = follow(files, this.#reference, path);
        if (file.kind !== 'file') throw notAFile(this.#reference, path, file.kind);
        return file;
      }),
    );
    for (const file of found) await writeContent(image, file, { output, deadlineMs: catDeadlineMs, signal });
  }
}

function withTarget(files: ErofsFiles, entry: NamedFile): Listing {
  return entry.file.kind === 'symlink' ? { ...entry, target: files.linkTarget(entry.file) } : entry;
}

/** An empty stack has a root, and nothing in it. */
function emptyStack(reference: string, path: string): readonly Listing[] {
  if (/^[/.]*$/.test(belowStack(path))) return [];
  throw new CodedError('not-found', `${reference} has no ${printableName(path)}: it has no layers`, {
    facts: { reference },
    next: 'name a tag or a digest: `spfs tags` lists the tags',
  });
}

function notAFile(reference: string, path: string, kind: string): CodedError {
  const shown = printableName(path);
  return new CodedError('failed-precondition', `${shown} in ${reference} is a ${kind} and no file`, {
    facts: { reference, path: shown, kind },
    next: kind === 'directory' ? `\`spfs ls ${reference} ${shown}\` lists it` : 'name a regular file',
  });
}
