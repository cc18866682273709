import { setImmutable } from '../host/index.js';
import type { Context } from './context.js';

/** Gives a committed layer the immutable attribute. A failure is only logged: it is a guard against accidents. */
export async function protect(context: Pick<Context, 'log'>, layerPath: string): Promise<void> {
  try {
    const supported = await setImmutable(layerPath, true);
    if (!supported) context.log.debug({ path: layerPath }, 'this filesystem has no immutable attribute');
  } catch (error) {
    context.log.warn({ err: error, path: layerPath }, 'could not make a committed layer immutable');
  }
}
