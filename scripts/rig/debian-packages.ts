import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { extract } from 'tar-stream';

import { packageRoot } from '../../src/package.js';
import type { LayerTar } from './layer-tar.js';
import { RigError } from './process.js';

const folder = join(packageRoot(), '.tools', 'debs');

/** Documentation that a container image leaves out. */
const documentation = /^usr\/share\/(locale|man|info|lintian)\//;

/** The packages that scripts/setup downloaded, sorted. @throws RigError when there are none. */
export async function debianPackages(): Promise<readonly string[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.deb')).sort();
  if (names.length > 0) return names;
  throw new RigError(
    'there are no Debian packages in .tools/debs to make an image from',
    'run scripts/setup on Debian or Ubuntu, or give an image of your own with --image',
  );
}

/**
 * Adds what the packages install. A folder that several packages have is added once; their scripts do not run.
 *
 * @param folders those added so far, extended here.
 */
export async function addPackages(layer: LayerTar, names: readonly string[], folders: Set<string>): Promise<void> {
  for (const name of names) await addPackage(layer, join(folder, name), folders);
}

/** The same for one package, by the path of its file; `leavesOut` says which names a layer does without. */
export async function addPackage(
  layer: LayerTar,
  path: string,
  folders: Set<string>,
  leavesOut = (name: string) => documentation.test(name),
): Promise<void> {
  const unpacking = spawn('dpkg-deb', ['--fsys-tarfile', path], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(unpacking, 'close');
  ended.catch(() => undefined);
  const entries = unpacking.stdout.pipe(extract());
  for await (const entry of entries) {
    const { name: given, type, mode, uid, gid, mtime, linkname } = entry.header;
    const name = given.replace(/^\.\//, '');
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    if (leavesOut(name) || (type === 'directory' && folders.has(name))) continue;
    if (type === 'directory') folders.add(name);
    const target = type === 'link' ? linkname.replace(/^\.\//, '') : linkname;
    const header = { name: name === '' ? './' : name, type, mode, uid, gid, mtime, linkname: target };
    await layer.add(header, Buffer.concat(chunks));
  }
  const [status] = (await ended) as [number | null];
  if (status !== 0)
    throw new RigError(`dpkg-deb cannot read ${path}`, 'remove .tools/debs and run scripts/setup again');
}
