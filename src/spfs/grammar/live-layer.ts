import { dirname, isAbsolute, normalize } from 'node:path';
import type { LiveBind, LiveLayer } from '../model.js';
import { isWithin, readDestination } from './destination.js';
import { attempt, quoted, shown } from './fault.js';
import type { FileKind, SpecFiles } from './files.js';
import { fieldsOf, inShape, listOrEmptyOf, textOf, valueError, valueWhere, type Warn } from './shape.js';
import type { SpecDocument } from './yaml.js';

export const liveLayerApis = ['spfs/v0/livelayer', 'v0/livelayer', 'v0/layer'] as const;

const source = textOf('a path', 'write a path that lies in the folder of this file');
const destination = textOf('a path', 'write a path below /spfs, such as /spfs/game or game');

const shape = fieldsOf({
  api: textOf('text', `write ${liveLayerApis[0]}`),
  contents: listOrEmptyOf(
    fieldsOf({ bind: source.optional(), src: source.optional(), dest: destination }),
    'a list of binds',
    'write "contents:", and below it "- bind: PATH" and "dest: PATH"',
  ),
});

/** Binds of one live layer. */
export const mostBinds = 1024;

type Key = 'bind' | 'src';

interface CheckedBind extends LiveBind {
  readonly kind: FileKind;
}

/**
 * Reads a live layer and looks at everything that it binds.
 *
 * @throws CodedError `invalid-argument`, `not-found` for a source that does not exist, `failed-precondition` for one that
 *   cannot be looked at; with file, line and field
 */
export async function readLiveLayer(document: SpecDocument, files: SpecFiles, warn: Warn): Promise<LiveLayer> {
  const { contents } = inShape(document, shape, warn);
  if (contents.length > mostBinds) {
    const what = `a live layer has at most ${mostBinds} binds, and this one has ${contents.length}`;
    throw valueError(document, ['contents'], what, { next: 'bind folders that hold what belongs together' });
  }
  const binds: CheckedBind[] = [];
  for (const [index, { bind, src, dest }] of contents.entries()) {
    const path = ['contents', index];
    if (bind !== undefined && src !== undefined) {
      const next = 'keep one of them: they are two names of one field';
      throw valueError(document, path, 'there are both "bind" and "src"', { next });
    }
    const [key, text]: [Key, string | undefined] = src === undefined ? ['bind', bind] : ['src', src];
    if (text === undefined) {
      const next = 'write "bind:" and a path that is relative to this file';
      throw valueError(document, path, 'there is no "bind"', { next });
    }
    const found = await readSource(document, [...path, key], text, files);
    const checked = { ...found, destination: destinationOf(document, index, dest) };
    checkOverlap(document, index, checked, binds);
    binds.push(checked);
  }
  return { file: document.file, binds: binds.map(({ source, destination }) => ({ source, destination })) };
}

function destinationOf(document: SpecDocument, index: number, text: string): string {
  const read = readDestination(text);
  if ('path' in read) return read.path;
  throw valueError(document, ['contents', index, 'dest'], read.what, { next: read.next });
}

/** The file or folder that a bind leads to, which must lie in the folder of the live layer's file. */
async function readSource(
  document: SpecDocument,
  path: readonly PropertyKey[],
  text: string,
  files: SpecFiles,
): Promise<{ readonly source: string; readonly kind: FileKind }> {
  const next = 'write a path that is relative to this file, or absolute, and stays in its folder';
  const fault = sourceFault(text);
  if (fault !== undefined) throw valueError(document, path, fault, { next });
  const where = valueWhere(document, path);
  const written = dirname(document.file);
  // Not joined: the kernel resolves `link/..`.
  const meant = isAbsolute(text) ? text : `${written === '/' ? '' : written}/${text}`;
  const folder = await attempt(where, written, () => files.realpath(written));
  const real = await attempt(where, meant, () => files.realpath(meant));
  const kind = real === undefined ? undefined : (await attempt(where, meant, () => files.stat(real)))?.kind;
  if (folder === undefined || real === undefined || kind === undefined) {
    if (!isWithin(normalize(meant), written))
      throw valueError(document, path, `${quoted(text)} leaves the folder ${written}`, { next });
    throw valueError(document, path, `there is no ${shown(meant)}`, { code: 'not-found', next });
  }
  if (!isWithin(real, folder)) {
    throw valueError(document, path, `${quoted(text)} leads to ${shown(real)}, outside of the folder ${folder}`, {
      next,
    });
  }
  if (kind === 'file' || kind === 'directory') return { source: real, kind };
  throw valueError(document, path, `${shown(meant)} is a ${kind}`, { next: 'bind a file or a directory' });
}

function sourceFault(text: string): string | undefined {
  if (text === '') return 'the path is empty, and "." would be the folder of this file';
  // eslint-disable-next-line no-control-regex -- these are what it is about
  if (/[\u0000-\u001f\u007f]/.test(text)) return 'a path cannot have control characters here';
  return undefined;
}

/**
 * Binds are made in order, so a later one may lie inside an earlier one's folder; the other way round it would hide the earlier one.
 */
function checkOverlap(document: SpecDocument, index: number, bind: CheckedBind, earlier: readonly CheckedBind[]): void {
  const path = ['contents', index, 'dest'];
  const { destination } = bind;
  for (const [number, other] of earlier.entries()) {
    const overlaps = isWithin(destination, other.destination) || isWithin(other.destination, destination);
    if (!overlaps) continue;
    const name = `contents[${number}] in line ${document.lineOf(['contents', number, 'dest'])}`;
    if (other.destination === destination) {
      throw valueError(document, path, `${destination} is taken by ${name}`, { next: 'choose another destination' });
    }
    if (isWithin(other.destination, destination)) {
      const what = `${destination} would hide ${other.destination} of ${name}`;
      throw valueError(document, path, what, { next: 'list the inner destination after the outer one' });
    }
    if (other.kind === 'file') {
      const what = `${destination} lies below ${name}, which binds a file`;
      throw valueError(document, path, what, { next: 'choose another destination' });
    }
  }
}
