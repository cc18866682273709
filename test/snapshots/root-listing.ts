import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Everything below a root, one line an entry: path, type, mode, size, time and content. What LevelDB keeps for itself is left
 * out: a test asks the records of the snapshotter instead.
 */
export async function listingOf(root: string): Promise<readonly string[]> {
  const paths = await readdir(root, { recursive: true });
  const own = paths.filter((path) => !path.startsWith('metadata.db/'));
  return Promise.all(own.sort().map((path) => line(root, path)));
}

async function line(root: string, path: string): Promise<string> {
  const stat = await lstat(join(root, path));
  const facts = `${path} ${stat.mode.toString(8)}`;
  // The time of a folder tells of names that came and went.
  if (stat.isDirectory()) return path === 'metadata.db' ? facts : `${facts} ${stat.mtimeMs}`;
  if (stat.isSymbolicLink()) return `${facts} -> ${await readlink(join(root, path))}`;
  const large = stat.size > 4 * 1024 * 1024;
  const content = large
    ? 'large'
    : createHash('sha256')
        .update(await readFile(join(root, path)))
        .digest('hex');
  return `${facts} ${stat.size} ${stat.mtimeMs} ${content}`;
}
