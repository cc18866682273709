import { attempt, shown, specError, type Where } from './fault.js';
import type { FileKind, SpecFiles } from './files.js';
import { liveLayerApis } from './live-layer.js';
import { runSpecApis } from './run-spec.js';
import { valueError } from './shape.js';
import { specFileSuffix } from './tag.js';
import { decodeText } from './text.js';
import { readYaml, type SpecDocument } from './yaml.js';

/** What a directory means. */
export const directorySpecFile = `layer${specFileSuffix}`;

/** A spec file has at most this many bytes: 1 MiB. */
export const largestSpecFile = 1024 * 1024;

/** A spec file, found and not read yet. */
export interface LocatedSpec {
  /** As it was named, with the directory's file where a directory was named. */
  readonly file: string;
  /** The same without symlinks: what tells whether two are one. */
  readonly identity: string;
}

/**
 * Finds the spec file that a path means.
 *
 * @throws CodedError `not-found`; `invalid-argument` when it is none; `failed-precondition` when it cannot be looked at
 */
export async function locateSpec(path: string, files: SpecFiles, where: Where): Promise<LocatedSpec> {
  const found = await attempt(where, path, () => files.stat(path));
  if (found === undefined) {
    const check = 'check the path of the spec file';
    throw specError(where, `there is no ${shown(path)}`, {
      code: 'not-found',
      next: where.spec?.at === undefined ? check : `${check}; one that contains a "+" cannot be named here`,
    });
  }
  const file = found.kind === 'directory' ? `${path.replace(/\/+$/, '')}/${directorySpecFile}` : path;
  const { kind, size } = found.kind === 'directory' ? await insideDirectory(path, file, files, where) : found;
  if (kind !== 'file') {
    throw specError(where, `${shown(file)} is a ${kind}`, { next: 'name a spec file, or a directory with one' });
  }
  if (!file.endsWith(specFileSuffix)) {
    const what = `${shown(file)} is not named like a spec file`;
    throw specError(where, what, { next: `name a file that ends in ${specFileSuffix}` });
  }
  if (size > largestSpecFile) throw tooLarge(file, `${size} bytes`, where);
  const identity = await attempt(where, file, () => files.realpath(file));
  return { file, identity: identity ?? file };
}

async function insideDirectory(
  path: string,
  file: string,
  files: SpecFiles,
  where: Where,
): Promise<{ readonly kind: FileKind; readonly size: number }> {
  const found = await attempt(where, file, () => files.stat(file));
  if (found !== undefined) return found;
  const what = `the directory ${shown(path)} has no ${directorySpecFile}`;
  throw specError(where, what, { code: 'not-found', next: `make one, or name a file that ends in ${specFileSuffix}` });
}

function tooLarge(file: string, size: string, where: Where) {
  return specError(where, `${shown(file)} has ${size}: a spec file has at most ${largestSpecFile}`, {
    next: 'check that this is the right file',
  });
}

/** A spec file's text as YAML, and which kind it says it is. */
export interface SpecContents {
  readonly kind: 'run-spec' | 'live-layer';
  readonly document: SpecDocument;
}

/** @throws CodedError as soon as the file is not what a spec file must be, whichever kind */
export async function readSpec(file: string, files: SpecFiles, where: Where): Promise<SpecContents> {
  // One byte more than allowed tells whether the file grew since its size was asked for.
  const bytes = await attempt(where, file, () => files.read(file, largestSpecFile + 1));
  if (bytes.length > largestSpecFile) throw tooLarge(file, `more than ${largestSpecFile} bytes`, where);
  const document = readYaml(decodeText(bytes, file), file);
  return { kind: kindOf(document), document };
}

function kindOf(document: SpecDocument): SpecContents['kind'] {
  const known = [...runSpecApis, ...liveLayerApis];
  const next = `a spec file says "api:" and one of ${known.join(', ')}`;
  const root = document.found([]);
  if (root === 'empty' || root === undefined) throw valueError(document, [], 'the file is empty', { next });
  if (root !== 'a map') throw valueError(document, [], `this is ${root}, and must be a map`, { next });
  const found = document.found(['api']);
  if (found === undefined) throw valueError(document, ['api'], 'this field is missing', { next });
  const api: unknown = (document.value as { readonly api?: unknown }).api;
  if (runSpecApis.some((name) => name === api)) return 'run-spec';
  if (liveLayerApis.some((name) => name === api)) return 'live-layer';
  const what = found === 'empty' ? 'this is empty' : `this is ${found}, which is no known api`;
  throw valueError(document, ['api'], what, { next });
}
