import { readFile, readlink } from 'node:fs/promises';
import { errnoOf } from '../errors.js';

/** When a process started, which tells it from a later one of the same id. */
export interface FoundProcess {
  /** In clock ticks since the boot. */
  readonly start: string;
  /** It only waits for its parent to notice that it ended. */
  readonly ended: boolean;
}

/** The process of that id in this pid namespace; undefined when there is none. */
export async function findProcess(pid: number): Promise<FoundProcess | undefined> {
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

/** What tells this start of the machine from every other one. */
export async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** Signals all processes of a group; one that has ended already is no error. */
export function killGroup(id: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-id, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

/** The pid namespace of this process, as `pid:[<inode>]`. */
export function pidNamespace(): Promise<string> {
  return readlink('/proc/self/ns/pid');
}
