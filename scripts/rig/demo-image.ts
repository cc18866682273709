import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { addPackages, debianPackages } from './debian-packages.js';
import { type BuiltLayer, LayerTar, zstdOrGzip, type Compression } from './layer-tar.js';
import { type Image, LayoutWriter } from './oci-layout.js';

/** What goes into the first layer: enough for a shell. The other packages make the second. */
const base =
  /^(base-files|base-passwd|libc6|libgcc-s1|gcc-\d+-base|dash|coreutils|libacl1|libattr1|libselinux1|libpcre2|libgmp)/;

export const nonAsciiName = 'srv/Grüße-日本語.txt';

/** `cap_net_raw` effective and permitted: struct vfs_cap_data of version 2, little-endian, as linux/capability.h has it. */
const netRaw = Buffer.from([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).toString('latin1');

/**
 * Makes an image of five layers from Debian packages, with all that layers can hold: whiteouts, an opaque folder, hard links, a
 * file capability, setuid, symbolic links, a fifo, a name that is not ASCII; compressed with gzip, zstd, and not at all. The same
 * packages give the same digests.
 *
 * @param folder an empty folder for the OCI layout.
 */
export async function buildDemoImage(folder: string): Promise<Image> {
  const layout = new LayoutWriter(folder);
  await layout.open();
  const scratch = join(folder, 'tmp');
  await mkdir(scratch);
  const packages = await debianPackages();
  const folders = new Set<string>();
  const layers: BuiltLayer[] = [];
  const add = async (compression: Compression, fill: (layer: LayerTar) => Promise<void>) => {
    const layer = new LayerTar(join(scratch, `${layers.length}.tar`));
    await fill(layer);
    layers.push(await layer.finish(layout, compression));
  };
  await add('gzip', (layer) =>
    addPackages(
      layer,
      packages.filter((name) => base.test(name)),
      folders,
    ),
  );
  await add(await zstdOrGzip(), (layer) =>
    addPackages(
      layer,
      packages.filter((name) => !base.test(name)),
      folders,
    ),
  );
  await add('gzip', addFiles);
  await add('gzip', addDeletions);
  await add('plain', addReplacements);
  return await layout.finish('demo', layers);
}

/** Every kind of file that a layer can hold. */
async function addFiles(layer: LayerTar): Promise<void> {
  await layer.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n');
  await layer.file('etc/group', 'root:x:0:\n');
  await layer.folder('opt/app/conf');
  await layer.file('opt/app/conf/old.conf', 'from the third layer\n');
  await layer.file('opt/app/program', '#!/bin/sh\necho "program of the image"\n', { mode: 0o755 });
  await layer.add({ name: 'opt/app/hardlink', type: 'link', linkname: 'opt/app/program', mode: 0o755 });
  await layer.add({ name: 'opt/app/symlink', type: 'symlink', linkname: 'program', mode: 0o777 });
  await layer.file('opt/app/setuid', '#!/bin/sh\n', { mode: 0o4755 });
  const capability = { 'SCHILY.xattr.security.capability': netRaw };
  await layer.file('opt/app/capable', '#!/bin/sh\n', { mode: 0o755, pax: capability });
  await layer.add({ name: 'run/fifo', type: 'fifo', mode: 0o600 });
  await layer.file(nonAsciiName, 'a name that is not ASCII\n');
  await layer.file('opt/deleted', 'deleted by the fourth layer\n');
  await layer.folder('opt/deleted-folder');
  await layer.file('opt/deleted-folder/file', 'deleted with its folder\n');
}

async function addDeletions(layer: LayerTar): Promise<void> {
  await layer.file('opt/.wh.deleted', '');
  await layer.file('opt/.wh.deleted-folder', '');
  await layer.folder('opt/app/conf');
  await layer.file('opt/app/conf/.wh..wh..opq', '');
  await layer.file('opt/app/conf/new.conf', 'from the fourth layer\n');
}

async function addReplacements(layer: LayerTar): Promise<void> {
  await layer.file('opt/app/conf/added.conf', 'from the fifth layer\n');
  await layer.file('etc/image-id', 'demo\n');
}
