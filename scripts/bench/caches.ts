import { createReadStream } from 'node:fs';
import { open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { tool } from '../rig/process.js';

/** Waits until all that was written is on disk. */
export async function sync(): Promise<void> {
  await tool('sync', []);
}

/** True when the kernel lets this process empty the page cache. */
export async function mayDropCaches(): Promise<boolean> {
  try {
    await (await open('/proc/sys/vm/drop_caches', 'w')).close();
    return true;
  } catch {
    return false;
  }
}

/**
 * The same start for every pull: nothing waits to be written, nothing is cached, except the registry's blobs. A registry is
 * another machine as a rule, and its disk is not what is measured.
 */
export async function evenCaches(registryFolder: string): Promise<void> {
  await sync();
  if (await mayDropCaches()) await writeFile('/proc/sys/vm/drop_caches', '3');
  for (const entry of await readdir(registryFolder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) await readThrough(join(entry.parentPath, entry.name));
  }
}

async function readThrough(path: string): Promise<void> {
  for await (const _ of createReadStream(path, { highWaterMark: 1024 * 1024 }));
}
