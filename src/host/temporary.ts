import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProcess, pidNamespace } from './processes.js';

const prefix = 'erofs-snapshotter-';
/** Pid namespace, process id, and start of the process: another process of the same id is another owner. */
const owned = /-(?<namespace>\d+)-(?<pid>\d+)-(?<start>\d+)-[^-]+$/;

/**
 * Makes a temporary folder, readable by its owner alone, whose name tells which process it belongs to. Those that killed
 * processes have left are removed on the way.
 *
 * @param what `guest`: a word for people who find it
 */
export async function makeTemporaryFolder(what: string): Promise<string> {
  const namespace = await ownNamespace();
  await sweep(namespace);
  const start = (await findProcess(process.pid))?.start ?? '0';
  return await mkdtemp(join(tmpdir(), `${prefix}${what}-${namespace}-${process.pid}-${start}-`));
}

async function sweep(namespace: string): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const owner = name.startsWith(prefix) ? owned.exec(name)?.groups : undefined;
    // Processes of another pid namespace cannot be seen from here.
    if (owner?.['namespace'] !== namespace) continue;
    const found = await findProcess(Number(owner['pid']));
    if (found && !found.ended && found.start === owner['start']) continue;
    // A folder that cannot be removed is another user's, and does no harm.
    await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => undefined);
  }
}

async function ownNamespace(): Promise<string> {
  return (await pidNamespace()).replace(/\D/g, '');
}
