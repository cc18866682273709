import { SnapshotterError } from '../errors.js';
import { temporaryBeside } from '../host/index.js';
import { publishExtractedLayer, type ExtractTarget } from '../layers/index.js';
import type { Mount } from '../vocabulary.js';
import type { Context } from './context.js';
import { mustBeSound } from './records.js';

const upperdir = 'upperdir=';

/**
 * Finds the extract snapshot whose Prepare gave these mounts. containerd passes them on as they were, or turns the lone bind
 * into an overlay with only an `upperdir=`.
 *
 * @throws SnapshotterError `not-mine` when no path of the list lies below our root; `invalid-argument` when the list mixes
 *   ours with others or leaves the root by `..`; `not-found`, `failed-precondition` when the snapshot cannot take a layer
 */
export async function findExtractTarget(context: Context, mounts: readonly Mount[]): Promise<ExtractTarget> {
  const id = extractId(context, mounts);
  const record = await context.store.byId(id);
  if (!record) {
    throw new SnapshotterError('not-found', `the mounts are those of snapshot ${id}, which does not exist`, {
      facts: { id },
      next: 'prepare the layer again',
    });
  }
  mustBeSound(record);
  if (record.kind !== 'active' || record.role !== 'extract') {
    throw new SnapshotterError(
      'failed-precondition',
      `snapshot ${JSON.stringify(record.key)} is not one to extract a layer into`,
      {
        facts: { key: record.key, kind: record.kind, role: record.role },
        next: 'apply layers to an active snapshot whose key\'s last path part starts with "extract-"',
      },
    );
  }
  const folder = context.paths.snapshot(id);
  return {
    id,
    temporary: (purpose) => temporaryBeside(folder.layer(purpose)),
    publishLayer: (temporaryPath, digest) => publishExtractedLayer(folder.path, temporaryPath, digest),
  };
}

function extractId({ paths }: Context, mounts: readonly Mount[]): number {
  const named = mounts.flatMap(pathsNamedBy);
  if (!named.some((path) => claimsToBeBelow(path, paths.root))) {
    throw new SnapshotterError('not-mine', 'these mounts are not of this snapshotter', {
      facts: { mounts: mounts.map(({ type, source }) => `${type} ${source}`) },
    });
  }
  const outside = named.find((path) => !paths.contains(path));
  if (outside !== undefined) {
    throw new SnapshotterError(
      'invalid-argument',
      `the mounts name ${JSON.stringify(outside)}, outside ${paths.root}`,
      {
        facts: { path: outside, root: paths.root },
        next: 'pass on the mounts that Prepare answered, unchanged',
      },
    );
  }
  const only = named.length === 1 ? named[0] : undefined;
  const id = only === undefined ? undefined : paths.idOfUpper(only);
  if (id !== undefined) return id;
  throw new SnapshotterError('invalid-argument', `a layer cannot be applied to ${named.join(', ')}`, {
    facts: { paths: named },
    next: 'apply it to the mounts of a snapshot whose key\'s last path part starts with "extract-"',
  });
}

/** Every host path that a mount would read or write. `none` and the filesystem's own name are not paths. */
function pathsNamedBy({ source, options }: Mount): string[] {
  const fromOptions = options.flatMap((option) => {
    if (option.startsWith(upperdir)) return [option.slice(upperdir.length)];
    return /^(lowerdir|workdir|device)[^=]*=/.test(option) ? option.slice(option.indexOf('=') + 1).split(':') : [];
  });
  return [...(source.startsWith('/') ? [source] : []), ...fromOptions];
}

/** By its spelling, before `..` is resolved. */
function claimsToBeBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(`${root}/`);
}
