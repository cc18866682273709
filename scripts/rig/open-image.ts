import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

import { extract } from 'tar-stream';

import { type Image, readLayout } from './oci-layout.js';
import { RigError } from './process.js';

/**
 * The image of an OCI layout folder, or of a tar of one (`docker save`, `skopeo copy … oci-archive:`), plain or gzip.
 *
 * @param scratch an empty folder, where a tar is unpacked.
 * @throws RigError when it is neither.
 */
export async function openImage(path: string, scratch: string): Promise<Image> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return await readLayout(path);
  if (!found?.isFile()) {
    const what = found === undefined ? 'does not exist' : 'is neither a folder nor a file';
    throw new RigError(`${path} ${what}`, 'give an OCI layout folder or a tar of one');
  }
  await unpack(path, scratch).catch((error: unknown) => {
    throw new RigError(`${path} is not a tar archive: ${String(error)}`, 'give an OCI layout folder or a tar of one', {
      cause: error,
    });
  });
  if (!(await stat(join(scratch, 'oci-layout')).catch(() => undefined))) {
    throw new RigError(
      `${path} holds no OCI layout: it has no oci-layout file`,
      'save it with Docker 25 or later, or convert it: "skopeo copy docker-archive:FILE oci:DIR"',
    );
  }
  return await readLayout(scratch);
}

/** Regular files only: a layout has no others, and a stranger's archive shall not name any place but the folder. */
async function unpack(path: string, folder: string): Promise<void> {
  const entries = extract();
  const source = createReadStream(path);
  const feeding = (await isGzip(path)) ? pipeline(source, createGunzip(), entries) : pipeline(source, entries);
  // Reading and feeding fail together; the reader's failure is the one that is thrown.
  feeding.catch(() => undefined);
  for await (const entry of entries) {
    const name = normalize(entry.header.name);
    if (entry.header.type !== 'file' || name.startsWith('/') || name.startsWith('..')) {
      entry.resume();
      continue;
    }
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await pipeline(entry, createWriteStream(join(folder, name)));
  }
  await feeding;
}

async function isGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer.readUInt16BE(0) === 0x1f8b;
  } finally {
    await file.close();
  }
}
