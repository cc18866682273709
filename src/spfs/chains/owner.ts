import { readFile, readlink } from 'node:fs/promises';
import { errnoOf } from '../../errors.js';
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
  const own = await processNamed(process.pid);
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
  const found = await processNamed(pid);
  return found === undefined || found.ended || found.start !== labels[startLabel];
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

function pidNamespace(): Promise<string> {
  return readlink('/proc/self/ns/pid');
}

/**
 * When the process started, in clock ticks since the boot, and whether it only waits for its parent to notice that it ended.
 * Undefined when there is none.
 */
async function processNamed(pid: number): Promise<{ readonly start: string; readonly ended: boolean } | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    // ESRCH: it ended between open and read.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined;
    throw error;
  }
  // proc(5): field 2 is the program's name in parentheses, which may itself hold anything; field 3 the state, 22 the start.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = ''] = fields;
  return { start: fields[19] ?? '', ended: state === 'Z' || state === 'X' };
}
