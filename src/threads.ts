import { extname } from 'node:path';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * Starts a thread that runs the module `name` beside the caller's own. Run from source, as the tests do, that is TypeScript too, and a
 * thread does not inherit the loader that reads it.
 *
 * @param beside the caller's `import.meta.url`
 * @param name without its extension
 */
export function startThread(beside: string, name: string, options: WorkerOptions = {}): Worker {
  const extension = extname(beside);
  const file = new URL(`./${name}${extension}`, beside);
  if (extension !== '.ts') return new Worker(file, options);
  const load = `import('tsx/esm/api').then((tsx) => { tsx.register(); return import(${JSON.stringify(file.href)}); })`;
  return new Worker(load, { ...options, eval: true });
}
