import { CodedError } from '../errors.js';
import { line, quote } from './command.js';
import type { Share } from './shares.js';

/** What the guest makes of its disks and streams: the variables of `guest/setup`. */
export interface GuestSetup {
  /** Disks: what is written over them is refused, kept in memory, or (with a writable disk) kept on that. */
  readonly root: 'minimal' | 'disks' | 'read-only';
  readonly stack: boolean;
  readonly shares: readonly Share[];
  readonly streams: SetupStreams;
  readonly tmpfsSize?: string;
}

export type SetupStreams =
  | { readonly kind: 'plain'; readonly stdin: boolean; readonly stderr: boolean }
  | { readonly kind: 'terminal'; readonly columns: number; readonly rows: number };

/**
 * The names of the guest's ports, in the order in which they are connected. The control port is the last: when it works, so
 * do the others.
 */
export function portNames(streams: SetupStreams): readonly string[] {
  if (streams.kind === 'terminal') return ['terminal', 'control'];
  return [...(streams.stdin ? ['stdin'] : []), ...outputNames(streams), 'control'];
}

function outputNames(streams: SetupStreams): readonly string[] {
  if (streams.kind === 'terminal') return [];
  return streams.stderr ? ['stdout', 'stderr'] : ['stdout'];
}

/** The shell lines of `guest/setup`. @throws CodedError `invalid-argument` for a size that tmpfs does not know. */
export function setupScript(setup: GuestSetup): Buffer {
  const { streams } = setup;
  const plain = streams.kind === 'plain';
  return variables({
    root: setup.root,
    stack: yes(setup.stack),
    stdin: yes(plain && streams.stdin),
    stderr: yes(plain && streams.stderr),
    outputs: outputNames(streams).join(' '),
    terminal: yes(!plain),
    columns: plain ? '' : String(cells(streams.columns)),
    rows: plain ? '' : String(cells(streams.rows)),
    tmpfs: `size=${sizeOf(setup.tmpfsSize)}`,
  });
}

/** The shell lines of `guest/live`. */
export function sharesScript(shares: readonly Share[]): Buffer {
  return Buffer.concat(
    shares.map(({ kind, destination }, index) => line(`live ${index} ${kind} `, quote(destination))),
  );
}

function variables(values: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(Object.entries(values).map(([name, value]) => line(`${name}=`, quote(value))));
}

function yes(is: boolean): string {
  return is ? 'yes' : '';
}

/** A terminal of no size, or one beyond what the kernel's struct winsize holds, is none that a program can draw on. */
export function cells(count: number): number {
  return Number.isInteger(count) && count > 0 && count < 65_536 ? count : 80;
}

function sizeOf(text = '50%'): string {
  if (/^[1-9]\d*[kKmMgG]?$/.test(text) || /^([1-9]\d?|100)%$/.test(text)) return text;
  throw new CodedError('invalid-argument', `${JSON.stringify(text)} is not a size for what is kept in memory`, {
    next: 'give bytes, a number with k, m or g, or a percentage of the guest’s memory such as 50%',
  });
}
