import type { ErrorCode } from '../../src/errors.js';
import type { Labels, Mount } from '../../src/vocabulary.js';

export interface Info {
  readonly name: string;
  readonly parent: string;
  readonly kind: 'view' | 'active' | 'committed';
  readonly labels: Labels;
  /** Nanoseconds since the epoch. */
  readonly createdAt: bigint;
  readonly updatedAt: bigint;
}

/** containerd's snapshotter contract in plain types. A call that fails throws an error whose `code` is an ErrorCode. */
export interface Port {
  prepare(key: string, parent?: string, labels?: Labels): Promise<readonly Mount[]>;
  view(key: string, parent?: string, labels?: Labels): Promise<readonly Mount[]>;
  mounts(key: string): Promise<readonly Mount[]>;
  commit(name: string, key: string, options?: { readonly parent?: string; readonly labels?: Labels }): Promise<void>;
  remove(key: string): Promise<void>;
  stat(key: string): Promise<Info>;
  update(name: string, labels: Labels, paths?: readonly string[]): Promise<Info>;
  list(...filters: readonly string[]): Promise<readonly Info[]>;
  usage(key: string): Promise<{ readonly bytes: number; readonly inodes: number }>;
  cleanup(): Promise<void>;
}

/** One snapshotter on a root of its own. */
export interface World {
  readonly root: string;
  /** The port that is open now; it changes with {@link reopen}. */
  readonly port: Port;
  /** Ends the snapshotter and starts another on the same root. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}

export type MakeWorld = () => Promise<World>;

export function codeOf(error: unknown): ErrorCode | undefined {
  return (error as { code?: ErrorCode }).code;
}
