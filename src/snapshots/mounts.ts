import { CodedError } from '../errors.js';
import { exists } from '../host/index.js';
import type { ImageServe } from '../metadata/index.js';
import type { Mount } from '../vocabulary.js';
import type { Context } from './context.js';
import { existing, mustBeSound } from './records.js';
import { filesOf, pathsOf, render } from './serve.js';

/**
 * The answer that Prepare or View gave, again, once all that it names was found to be there and to fit.
 *
 * @throws CodedError `not-found`; `failed-precondition` when the snapshot is committed or quarantined, or a file of its
 *   answer is missing; as `MergedImages.ensure` when its merged image must be made again and cannot be now
 */
export async function mountsOf(context: Context, key: string): Promise<readonly Mount[]> {
  const { store, paths } = context;
  const record = await existing(store, key);
  if (record.kind === 'committed') {
    throw new CodedError('failed-precondition', `snapshot ${JSON.stringify(key)} is committed and has no mounts`, {
      facts: { key },
      next: 'prepare or view a snapshot on top of it',
    });
  }
  mustBeSound(record);
  const { serve } = record;
  if (serve.shape === 'image') {
    if (record.parent !== '') (await store.chain(record.parent)).forEach(mustBeSound);
    await mustFitChain(context, key, serve);
  }
  await mustBeThere(key, filesOf(serve, record.id, paths));
  return render(serve, record.id, paths);
}

/** A merged image that is not that of its layers is made again, to the same bytes, and never answered as it is. */
async function mustFitChain({ merged, paths }: Context, key: string, serve: ImageServe): Promise<void> {
  if (serve.image !== 'merged') return;
  const layers = pathsOf(serve.layers, paths);
  await mustBeThere(key, layers);
  const outcome = await merged.ensureAsRecorded(paths.snapshot(serve.merged.id), layers, serve.merged.plan);
  if (outcome.merged) return;
  throw cannotBeServed(key, `its merged image is damaged and cannot be made again, since ${outcome.cause}`);
}

async function mustBeThere(key: string, files: readonly string[]): Promise<void> {
  for (const path of files) if (!(await exists(path))) throw cannotBeServed(key, `${path} is missing`);
}

function cannotBeServed(key: string, why: string): CodedError {
  return new CodedError('failed-precondition', `snapshot ${JSON.stringify(key)} cannot be served: ${why}`, {
    facts: { key },
    next: 'remove this snapshot and its image, then pull the image again',
  });
}
