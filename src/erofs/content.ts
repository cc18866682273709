import { isCode, CodedError } from '../errors.js';
import { run } from '../host/index.js';
import { imageArguments, type ErofsFile, type ErofsImage } from './files.js';
import { damaged } from './superblock.js';

export interface ContentOptions {
  /** An open descriptor that the file's bytes are written to. */
  readonly output: number;
  /** Milliseconds, for the whole file. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Writes what a regular file of an image holds to a descriptor, with dump.erofs, which knows every layout and finds the bytes of a
 * merged image in its layers. The descriptor's reader sets the pace; nothing is kept in memory.
 *
 * @throws CodedError as `run` does; `data-loss` when the image does not give all bytes.
 */
export async function writeContent(image: ErofsImage, file: ErofsFile, o: ContentOptions): Promise<void> {
  const { output, deadlineMs, signal } = o;
  if (file.kind !== 'file') throw new CodedError('internal', `inode ${file.nid} is a ${file.kind} and no file`);
  const args = ['--cat', `--nid=${file.nid}`, ...imageArguments(image)];
  const what = `reading ${image.path}`;
  const { stderr } = await run('dump.erofs', args, { deadlineMs, signal, stdout: output, what }).catch(
    (error: unknown) => {
      // It is given nothing but the image, so that is what it stumbles over; unless its reader had enough.
      if (!isCode(error, 'internal') || error.facts['signal'] === 'SIGPIPE') throw error;
      throw damaged(image.path, `dump.erofs could not read inode ${file.nid}: ${error.message}`);
    },
  );
  // Its exit status is 0 whatever happened.
  if (stderr.trim() !== '') throw damaged(image.path, `dump.erofs could not read inode ${file.nid}: ${stderr.trim()}`);
}
