import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readFiles, type ErofsFile, type ErofsFiles, type ErofsImage } from '../erofs/index.js';
import { errnoOf, CodedError } from '../errors.js';
import type { Mount } from '../vocabulary.js';
import { bytesOf, imageOf } from './browse/index.js';
import { isWithin } from './grammar/index.js';
import type { LiveBind, LiveLayer } from './model.js';

/** What a run will have at a path, as far as it can be told before anything boots. */
type Found =
  | { readonly what: 'folder' | 'file' | 'nothing' }
  /** The last part of the path itself is one. */
  | { readonly what: 'symlink' }
  /** Something on the way, at `path`. */
  | { readonly what: 'leaves' | 'blocked'; readonly path: string }
  /** Only the guest can tell: layers that are not merged, a filesystem of the guest's kernel. */
  | { readonly what: 'unknown' };

/** What a run is made of. */
export interface RunPlaces {
  readonly liveLayers: readonly LiveLayer[];
  /** Mounts answers of Views. */
  readonly stack: readonly Mount[];
  /** Absent: the minimal root of ours. */
  readonly root?: readonly Mount[];
}

interface PlacedBind extends LiveBind {
  readonly file: string;
}

/** Told of what works, but not quite as it may be meant. */
type Warn = (message: string) => void;

/**
 * Whether each live layer finds a place in the stack, or in the live layers below it.
 *
 * @throws CodedError `failed-precondition` for a destination that has no place, naming the live layer's file
 */
export async function checkLiveLayers({ liveLayers, stack }: RunPlaces, warn: Warn): Promise<void> {
  const image = mergedImage(stack);
  const earlier: PlacedBind[] = [];
  for (const { file, binds } of liveLayers) {
    for (const each of binds) {
      const bind = { ...each, file };
      const kind = await kindOnHost(bind.source);
      const below = earlier.findLast((other) => isWithin(bind.destination, other.destination));
      const found =
        below === undefined ? await inImage(image, '/spfs', bind.destination) : await inLiveLayer(below, bind);
      const what = faultOf(found, kind);
      if (what !== undefined) throw noPlace(bind, below, what);
      if (below !== undefined && found.what === 'nothing') await missingMountPoint(bind, below, warn);
      earlier.push(bind);
    }
  }
}

/**
 * Whether the folder that a command shall start in exists.
 *
 * @throws CodedError `invalid-argument`
 */
export async function checkWorkingFolder(cwd: string, { liveLayers, stack, root }: RunPlaces): Promise<void> {
  const path = join('/', cwd);
  const found = await inRun(path);
  if (found.what === 'folder' || found.what === 'symlink' || found.what === 'unknown') return;
  const what = found.what === 'file' || found.what === 'blocked' ? 'is no folder' : 'does not exist in the run';
  throw new CodedError('invalid-argument', `the working directory ${cwd} ${what}`, {
    facts: { path: cwd },
    next: 'give a folder that the root, the stack or a live layer has',
  });

  async function inRun(wanted: string): Promise<Found> {
    const binds = liveLayers.flatMap(({ file, binds: all }) => all.map((bind) => ({ ...bind, file })));
    const live = binds.findLast(({ destination }) => isWithin(wanted, destination));
    if (live) return inLiveLayer(live, { ...live, destination: wanted });
    // The way to a live layer is made for it.
    if (binds.some(({ destination }) => isWithin(destination, wanted))) return { what: 'folder' };
    if (isWithin(wanted, '/spfs')) return inImage(mergedImage(stack), '/spfs', wanted);
    if (madeByTheKernel.some((folder) => isWithin(wanted, folder))) return { what: 'unknown' };
    if (root) return inImage(mergedImage(root), '', wanted);
    return { what: minimalFolders.has(wanted) ? 'folder' : 'nothing' };
  }
}

const madeByTheKernel = ['/proc', '/sys', '/dev'];

/** Those of `make_minimal_root` in `src/vm/guest/mounts`. */
const minimalFolders: ReadonlySet<string> = new Set([
  ...['/', '/bin', '/sbin', '/usr', '/usr/bin', '/usr/sbin', '/etc', '/tmp', '/root', '/home', '/var', '/var/tmp'],
  '/run',
]);

/** @returns undefined for no layers, `unmerged` for layers that are not one image */
function mergedImage(mounts: readonly Mount[]): ErofsImage | 'unmerged' | undefined {
  const [first, ...others] = mounts;
  if (first && (others.length > 0 || !['erofs', 'format/erofs'].includes(first.type))) return 'unmerged';
  return imageOf(mounts);
}

/** As many as the kernel follows. */
const mostSymlinks = 40;

/** @param prefix where the image is mounted: `/spfs`, or the empty text for the root */
async function inImage(image: ErofsImage | 'unmerged' | undefined, prefix: string, path: string): Promise<Found> {
  const below = path.slice(prefix.length);
  if (image === 'unmerged') return { what: 'unknown' };
  if (image === undefined) return { what: /^\/*$/.test(below) ? 'folder' : 'nothing' };
  return readFiles(image, (files) => walk(files, prefix, below));
}

function walk(files: ErofsFiles, prefix: string, below: string): Found {
  const steps: ErofsFile[] = [];
  const here = () => steps.at(-1) ?? files.root();
  const pending = partsOf(below).reverse();
  for (let part = pending.pop(), symlinks = 0; part !== undefined; part = pending.pop()) {
    if (here().kind !== 'directory') return { what: 'blocked', path: `${prefix}${below}` };
    if (part === '.') continue;
    if (part === '..') {
      if (steps.pop() === undefined && prefix !== '') return { what: 'leaves', path: `${prefix}${below}` };
      continue;
    }
    const file = files.find(here(), part);
    if (file === undefined) return { what: 'nothing' };
    if (file.kind !== 'symlink') {
      steps.push(file);
      continue;
    }
    if (pending.length === 0) return { what: 'symlink' };
    symlinks += 1;
    const target = files.linkTarget(file);
    if (symlinks > mostSymlinks) return { what: 'blocked', path: `${prefix}${below}` };
    if (!target.startsWith('/')) pending.push(...partsOf(target).reverse());
    else if (!isWithin(target, prefix === '' ? '/' : prefix)) return { what: 'leaves', path: target };
    else if (prefix === '' && ['/spfs', ...madeByTheKernel].some((folder) => isWithin(target, folder)))
      return { what: 'unknown' };
    else {
      steps.length = 0;
      pending.push(...partsOf(target.slice(prefix.length)).reverse());
    }
  }
  return { what: here().kind === 'directory' ? 'folder' : 'file' };
}

function partsOf(path: string): string[] {
  return bytesOf(path)
    .split('/')
    .filter((part) => part !== '');
}

/** Looks for a destination in the folder that a live layer below it shows there. */
async function inLiveLayer(below: LiveBind, bind: LiveBind): Promise<Found> {
  if (bind.destination === below.destination) return { what: await kindOnHost(below.source) };
  const parts = bind.destination.slice(below.destination.length).split('/').slice(1);
  let path = below.source;
  for (const [at, part] of parts.entries()) {
    path = join(path, part);
    const kind = await lstat(path).catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    });
    if (kind === undefined) return { what: 'nothing' };
    if (kind.isSymbolicLink()) return at < parts.length - 1 ? { what: 'unknown' } : { what: 'symlink' };
    if (at === parts.length - 1) return { what: kind.isDirectory() ? 'folder' : 'file' };
    if (!kind.isDirectory()) return { what: 'blocked', path };
  }
  return { what: 'folder' };
}

async function kindOnHost(source: string): Promise<'folder' | 'file'> {
  return (await lstat(source)).isDirectory() ? 'folder' : 'file';
}

/** Why something of this kind cannot be bound over what was found. */
function faultOf(found: Found, kind: 'folder' | 'file'): string | undefined {
  switch (found.what) {
    case 'symlink':
      return 'is a symlink there';
    case 'leaves':
      return `leaves /spfs by a symlink to ${found.path}`;
    case 'blocked':
      return `has no folder on its way: ${found.path} is none`;
    case 'folder':
    case 'file':
      return found.what === kind ? undefined : `is a ${found.what} there, and a ${kind} is bound`;
    case 'nothing':
    case 'unknown':
      return undefined;
  }
}

function noPlace(bind: PlacedBind, below: PlacedBind | undefined, what: string): CodedError {
  const where = below === undefined ? 'the stack' : `the live layer ${below.file}`;
  return new CodedError('failed-precondition', `${bind.file}: ${bind.destination} ${what}, in ${where}`, {
    facts: { file: bind.file, destination: bind.destination },
    next: 'choose another destination, or change what is there',
  });
}

/** Of a folder that `src/vm/guest/bind` puts together anew to show a place in it. */
const mostEntries = 1000;

/** In its own file a folder can be made to show the place; in another's, it is for that folder to have it. */
async function missingMountPoint(bind: PlacedBind, below: PlacedBind, warn: Warn): Promise<void> {
  const place = join(below.source, bind.destination.slice(below.destination.length));
  const entries = bind.file === below.file ? (await readdir(below.source)).length : Infinity;
  if (entries <= mostEntries) {
    warn(
      `${bind.file}: ${bind.destination} is shown though there is no ${place}: what comes or goes beside it while the run ` +
        `lasts is not seen; make ${place} to see that`,
    );
    return;
  }
  const what = `${bind.file}: ${bind.destination} has no place: ${below.destination} is ${below.source} of the live layer ${below.file}`;
  throw new CodedError('failed-precondition', `${what}, which is read-only and has no ${place}`, {
    facts: { file: bind.file, destination: bind.destination, missing: place },
    next: `make ${place}, or choose another destination`,
  });
}
