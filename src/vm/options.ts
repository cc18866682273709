import type { Readable, Writable } from 'node:stream';

import type { Logger } from '../log.js';
import type { Mount } from '../vocabulary.js';
import type { Accelerator } from './arguments.js';
import type { GuestCommand } from './command.js';
import type { GuestKernel } from './kernel.js';

/** A folder or file of the host that the guest sees, read-only, while it changes. */
export interface LiveShare {
  /** Absolute path on the host. Mounts below a folder are not shared with it. */
  readonly source: string;
  /** Absolute path in the guest, `/spfs` or below. What the stack has there is hidden; it need not exist. */
  readonly destination: string;
}

/** What the command's root is. */
export type GuestRoot =
  /** A small writable one of ours: busybox and the files that programs expect. */
  | 'minimal'
  /** A Mounts answer. What is written over a View is kept in memory and lost, or refused with `readOnly`. */
  | { readonly mounts: readonly Mount[]; readonly readOnly?: boolean };

/** The command's standard streams as they are. Never ended nor destroyed by the guest. */
export interface PlainStreams {
  /** Undefined: `/dev/null`. The end of it is the end of the command's input. */
  readonly stdin: Readable | undefined;
  /** Once it is closed or fails, the command gets SIGPIPE for what it writes. */
  readonly stdout: Writable;
  /** `stdout`: both into one, in the order in which they were written. */
  readonly stderr: Writable | 'stdout';
}

/** A terminal in the guest. The caller puts its own into raw mode and gives TERM in `env`. */
export interface TerminalStreams {
  readonly terminal: {
    readonly input: Readable;
    readonly output: Writable;
    readonly columns: number;
    readonly rows: number;
  };
}

export interface GuestRunOptions extends GuestCommand {
  readonly root: GuestRoot;
  /** The Mounts answer of a View, shown read-only at `/spfs`; no mounts: an empty folder. Absent: no `/spfs`. */
  readonly stack?: { readonly mounts: readonly Mount[] };
  /** Over the stack, in order; they need a stack, which may be empty. */
  readonly liveBinds?: readonly LiveShare[];
  readonly streams: PlainStreams | TerminalStreams;
  readonly kernel: GuestKernel;
  /** Path of a statically linked busybox. */
  readonly busybox: string;
  /** Path of a virtiofsd, for live binds; default: where distributions have it. */
  readonly virtiofsd?: string;
  /** Bound of what is written in memory: bytes, with k, m or g, or a percentage of the guest's memory. Default: half of it. */
  readonly tmpfsSize?: string;
  /** Default 512. */
  readonly memoryMiB?: number;
  /** Default 1. */
  readonly cpus?: number;
  /** From the start of QEMU to the start of the command; default two minutes. */
  readonly bootTimeoutMs?: number;
  /** From the start of QEMU to its end; default: for ever. */
  readonly timeoutMs?: number;
  /** Default: KVM when it runs the guest's kernel, else TCG. */
  readonly accelerator?: Accelerator;
  /** What the machine is called in lists of processes. */
  readonly name?: string;
  /** Ends the guest at once, whatever it is doing. */
  readonly signal?: AbortSignal;
  readonly log?: Logger;
}

export interface GuestStart {
  /** The guest's uptime when the command started. */
  readonly bootSeconds: number;
  readonly accelerator: Accelerator;
}

export interface GuestResult extends GuestStart {
  /** The command's exit status; 126 and 127 as a shell gives them, 128 + n for signal n. */
  readonly exitCode: number;
  /** From the start of QEMU to its end. */
  readonly seconds: number;
  /** The last of what the guest's kernel and init printed. */
  readonly console: string;
}

/** A guest that boots or runs. */
export interface Guest {
  /** When the command starts. Rejects as `ended` does when it never starts. */
  readonly started: Promise<GuestStart>;
  /** Delivers a signal to the command's process group, as soon as there is one. */
  kill(signal: NodeJS.Signals | number): void;
  /** The size of the caller's terminal has changed. */
  resize(columns: number, rows: number): void;
  /**
   * When everything is over: streams written, QEMU and virtiofsd gone, temporary files removed.
   *
   * Rejects with a CodedError: `cancelled`; `deadline-exceeded`; `failed-precondition` when the guest could not
   * mount what it was given; `unavailable` when a program is missing; `internal` when the machine or virtiofsd ended by
   * itself, with the end of the console.
   */
  readonly ended: Promise<GuestResult>;
}

/** A program and its arguments. */
export interface PlannedProcess {
  readonly program: string;
  readonly argv: readonly string[];
}

/** What `startGuest` would start. Paths of files that do not exist yet are below `<temporary>`. */
export interface GuestPlan {
  readonly accelerator: Accelerator;
  readonly qemu: PlannedProcess;
  /** There when something live is shared. */
  readonly virtiofsd?: PlannedProcess;
}
