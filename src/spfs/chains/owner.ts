import { bootId, findProcess, pidNamespace } from '../../host/index.js';
import type { Labels } from '../../vocabulary.js';

/*
 * A lease of a run carries labels that name its process, so that a later command finds those whose process is gone. A pid
 * alone would not do: it is used again, starts over with each boot, and means something else in another pid namespace.
 */

export const pidLabel = 'spfs/pid';
const startLabel = 'spfs/start';
const bootLabel = 'spfs/boot';
const pidNamespaceLabel = 'spfs/pid-namespace';

/** Labels that name this process. */
export async function labelsOfThisProcess(): Promise<Labels> {
  const own = await findProcess(process.pid);
  return {
    [pidLabel]: String(process.pid),
    [startLabel]: own?.start ?? '',
    [bootLabel]: await bootId(),
    [pidNamespaceLabel]: await pidNamespace(),
  };
}

/** Whether the process that the labels name has certainly ended. */
export async function isGone(labels: Labels): Promise<boolean> {
  if (labels[bootLabel] !== (await bootId())) return true;
  // Processes of another pid namespace cannot be seen from here.
  if (labels[pidNamespaceLabel] !== (await pidNamespace())) return false;
  const pid = Number(labels[pidLabel]);
  if (!Number.isSafeInteger(pid) || pid < 1) return true;
  const found = await findProcess(pid);
  return found === undefined || found.ended || found.start !== labels[startLabel];
}
