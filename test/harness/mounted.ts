import { onTestFinished } from 'vitest';
import { PrivateMounts } from '../../src/host/index.js';

/** Mounts something on an existing folder for the rest of the test, and returns where this process reads it. */
export async function mountedReadOnly(o: Parameters<PrivateMounts['mountReadOnly']>[0]): Promise<string> {
  const mounts = await PrivateMounts.open(o.target);
  onTestFinished(() => mounts.close());
  return mounts.mountReadOnly(o);
}
