import { createHash } from 'node:crypto';
import { access, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { packageRoot } from '../../src/package.js';
import { addPackage } from '../rig/debian-packages.js';
import { buildDemoImage } from '../rig/demo-image.js';
import { type BuiltLayer, LayerTar } from '../rig/layer-tar.js';
import { type Image, LayoutWriter, readLayout } from '../rig/oci-layout.js';
import { openImage } from '../rig/open-image.js';
import { lastLines, RigError, tool } from '../rig/process.js';
import { show } from '../rig/steps.js';
import { compressible } from './layers.js';

const tools = join(packageRoot(), '.tools');
const packagesFolder = join(tools, 'bench-debs');
const imageFolder = join(tools, 'bench-image');

/** The image that the benchmark pulls: a given one, the small one of the demo, or the big one, which is made once and kept. */
export async function benchImage(
  o: { readonly given: string | undefined; readonly quick: boolean; readonly signal: AbortSignal },
  scratch: string,
): Promise<Image> {
  if (o.given !== undefined) return openImage(o.given, scratch);
  if (o.quick) return buildDemoImage(scratch);
  return bigImage(o.signal);
}

/** Changes when what the big image is made of changes. */
async function recipe(): Promise<string> {
  const list = await readFile(join(import.meta.dirname, 'image-packages'));
  const release = await readFile('/etc/os-release').catch(() => '');
  return createHash('sha256').update(list).update(release).digest('hex').slice(0, 16);
}

async function bigImage(signal: AbortSignal): Promise<Image> {
  const folder = join(imageFolder, await recipe());
  if (await exists(join(folder, 'index.json'))) return readLayout(folder);
  const packages = join(packagesFolder, await recipe());
  if (!(await exists(packages))) await downloadPackages(packages, signal);
  const partial = `${folder}.partial`;
  try {
    await rm(imageFolder, { recursive: true, force: true });
    await buildBigImage(partial, packages, signal);
    await rename(partial, folder);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return readLayout(folder);
}

async function downloadPackages(target: string, signal: AbortSignal): Promise<void> {
  show('downloading the Debian packages of the big image (about 280 MB)');
  await rm(packagesFolder, { recursive: true, force: true });
  await mkdir(packagesFolder, { recursive: true });
  const program = join(import.meta.dirname, 'download-packages');
  const { exitCode, stderr } = await tool(program, [target], { signal, timeoutMs: 1_800_000 });
  if (exitCode === 0) return;
  throw new RigError(
    `the packages of the big image cannot be downloaded: ${lastLines(stderr)}`,
    'mend the apt sources of this machine, or give an image: npm run bench -- --image <OCI layout>',
  );
}

/** A layer from each folder of packages, documentation and all, then a small one of configuration, all gzip. */
async function buildBigImage(folder: string, packages: string, signal: AbortSignal): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  const layout = new LayoutWriter(folder);
  await layout.open();
  const scratch = join(folder, 'tmp');
  await mkdir(scratch);
  const folders = new Set<string>();
  const layers: BuiltLayer[] = [];
  for (const number of (await readdir(packages)).sort((a, b) => Number(a) - Number(b))) {
    const names = (await readdir(join(packages, number))).sort();
    show(`layer ${number}: ${names.length} packages`);
    const layer = new LayerTar(join(scratch, `${number}.tar`));
    for (const name of names) {
      signal.throwIfAborted();
      await addPackage(layer, join(packages, number, name), folders, () => false);
    }
    layers.push(await layer.finish(layout, 'gzip'));
    await rm(join(scratch, `${number}.tar`));
  }
  const last = new LayerTar(join(scratch, 'last.tar'));
  await last.folder('etc/bench');
  for (let file = 0; file < 40; file++)
    await last.file(`etc/bench/${file}.conf`, `${compressible(`${file}`, 2500).toString('hex')}\n`);
  layers.push(await last.finish(layout, 'gzip'));
  await layout.finish('bench', layers);
  await rm(scratch, { recursive: true });
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
