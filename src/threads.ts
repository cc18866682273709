import { extname } from 'node:path';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * Starts a thread that runs the module `name` beside the caller's own, compiled or not as that is.
 *
 * @param beside the caller's `import.meta.url`
 * @param name without its extension
 */
export function startThread(beside: string, name: string, options: WorkerOptions = {}): Worker {
  return new Worker(new URL(`./${name}${extname(beside)}`, beside), options);
}
