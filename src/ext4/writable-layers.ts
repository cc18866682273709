import { rm } from 'node:fs/promises';
import { CodedError } from '../errors.js';
import { asCodedError, publish, temporaryBeside } from '../host/index.js';
import type { RootAttributes } from '../vocabulary.js';
import { blockSize } from './args.js';
import { format } from './format.js';
import { giveOwnUuid } from './identity.js';
import { readTemplate, TemplateCache, writeTemplate } from './template.js';

/**
 * Sizes in bytes that a writable layer can have. The least is the smallest ext4 of 4 KiB blocks that mke2fs gives a journal;
 * the most is half of what a file can have on ext4 itself.
 */
export const writableLayerLimits = { minimum: 8 * 1024 * 1024, maximum: 8 * 1024 ** 4 } as const;

/** A 64 MiB layer's template takes 120 KiB, one of 100 GiB 1 MiB, one of 1 TiB 12 MiB. */
const templateLimit = 4 * 1024 * 1024;
const cacheLimit = 16 * 1024 * 1024;

export interface CreateOptions {
  readonly path: string;
  /** Within `writableLayerLimits`; rounded down to whole blocks of 4096. */
  readonly bytes: number;
  /** What the guest shall see as `/`. */
  readonly root: RootAttributes;
  readonly signal?: AbortSignal;
}

/**
 * Makes writable layers: sparse ext4 images with `upper/` and `work/`. The first of a size and root is formatted, the next ones
 * are written from memory without starting a process.
 */
export class WritableLayers {
  readonly #templates = new TemplateCache(cacheLimit);

  /**
   * Makes the image appear at `path`, whole and flushed; when it fails nothing is left.
   *
   * @throws CodedError `invalid-argument` for a size out of range; `resource-exhausted` when the disk is full; else as
   *   `run` does.
   */
  async create({ path, bytes, root, signal }: CreateOptions): Promise<void> {
    const size = wholeBlocks(bytes);
    const temporary = temporaryBeside(path);
    try {
      await this.#make(temporary, size, root, signal);
      await giveOwnUuid(temporary);
      await publish(temporary, path);
    } catch (error) {
      // First, so that the free bytes that a message counts are those that the next try will find.
      await rm(temporary, { force: true });
      throw asCodedError(error, `making the writable layer ${path}`, path);
    }
  }

  async #make(image: string, bytes: number, root: RootAttributes, signal: AbortSignal | undefined): Promise<void> {
    const key = [bytes, root.mode, root.uid, root.gid, root.mtime, root.mtimeNsec].join(' ');
    const template = this.#templates.get(key);
    if (template) return writeTemplate(template, image);
    await format({ image, bytes, root, signal });
    const made = await readTemplate(image, templateLimit);
    if (made) this.#templates.set(key, made);
  }
}

function wholeBlocks(bytes: number): number {
  const { minimum, maximum } = writableLayerLimits;
  if (Number.isSafeInteger(bytes) && bytes >= minimum && bytes <= maximum) return bytes - (bytes % blockSize);
  throw new CodedError('invalid-argument', `a writable layer cannot have a size of ${bytes} bytes`, {
    facts: { bytes, minimum, maximum },
    next: `give a number of bytes from ${minimum} to ${maximum}`,
  });
}
