import { CodedError } from '../errors.js';
import { errorOf } from '../thread-error.js';
import { startThread } from '../threads.js';
import { damaged } from './superblock.js';
import type { TreeCheckAnswer, TreeCheckOrder } from './tree-check-worker.js';
import type { WalkedTree, WalkOptions } from './walk.js';

export interface TreeCheckOptions extends Omit<WalkOptions, 'thorough'> {
  /** Milliseconds. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

/** MiB of objects; a walk of ten million directories needs less. */
const memoryMiB = 1024;

/**
 * Walks an image that others made, thoroughly, in a thread of its own: the daemon's other work goes on, and the thread ends when it takes
 * too long or too much memory.
 *
 * @throws CodedError `data-loss` when its metadata is not sound, or takes too long to walk; the signal's reason
 */
export async function checkTree(path: string, o: TreeCheckOptions): Promise<WalkedTree> {
  const { deadlineMs, signal, ...walk } = o;
  signal?.throwIfAborted();
  const order: TreeCheckOrder = { path, walk: { ...walk, thorough: true } };
  const thread = startThread(import.meta.url, 'tree-check-worker', {
    workerData: order,
    resourceLimits: { maxOldGenerationSizeMb: memoryMiB },
  });
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  try {
    return await new Promise<WalkedTree>((resolve, reject) => {
      thread.once('message', (answer: TreeCheckAnswer) => {
        if ('tree' in answer) resolve(answer.tree);
        else reject(errorOf(answer.failure));
      });
      thread.once('error', (error) => reject(unwalkable(path, error)));
      thread.once('exit', () =>
        reject(new CodedError('internal', `the thread that walks ${path} ended early`, { facts: { path } })),
      );
      timer = setTimeout(
        () => reject(damaged(path, `its metadata takes more than ${deadlineMs} ms to walk`)),
        deadlineMs,
      );
      onAbort = () => reject(signal?.reason as Error);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  } finally {
    clearTimeout(timer);
    if (onAbort) signal?.removeEventListener('abort', onAbort);
    await thread.terminate();
  }
}

function unwalkable(path: string, error: Error): CodedError {
  if ((error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return damaged(path, `its metadata takes more than ${memoryMiB} MiB of memory to walk`);
  }
  return new CodedError('internal', `the thread that walks ${path} failed: ${error.message}`, {
    facts: { path },
    cause: error,
  });
}
