import { realpath, stat } from 'node:fs/promises';
import { errnoOf, CodedError } from '../../errors.js';
import type { ImportContext, Imported } from './context.js';
import { importBytes } from './layer-blob.js';

export interface ImportFolderOptions extends ImportContext {
  readonly path: string;
}

/**
 * Makes what is in a folder a layer, the folder's own mode, owner and time included. The same folder gives the same layer.
 *
 * @throws CodedError `not-found` no such folder; `invalid-argument` not a folder; `failed-precondition` it changed while it
 *   was read, or has what no layer can say; what the content store, the differ and the snapshotter say
 */
export async function importFolder(o: ImportFolderOptions): Promise<Imported> {
  const { path, signal, log } = o;
  const folder = await folderAt(path);
  // The room of layers brings much along that no other command needs.
  const { folderTar } = await import('../../diff/index.js');
  let bytes = 0;
  const onTotal = (total: number) => {
    bytes = total;
  };
  const content = folderTar(folder, { onTotal, signal, log });
  const mediaType = 'application/vnd.oci.image.layer.v1.tar';
  return await importBytes({ content, mediaType, origin: path, total: () => bytes }, o);
}

async function folderAt(path: string): Promise<string> {
  const folder = await realpath(path).catch((error: unknown) => {
    const missing = errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
    const message = error instanceof Error ? error.message : String(error);
    throw new CodedError(missing ? 'not-found' : 'failed-precondition', `${path} cannot be read: ${message}`, {
      facts: { path },
      next: missing ? 'give the path of a folder' : 'run this as root',
      cause: error,
    });
  });
  if ((await stat(folder)).isDirectory()) return folder;
  throw new CodedError('invalid-argument', `${path} is not a folder`, { facts: { path }, next: 'give a folder' });
}
