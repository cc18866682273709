import { CodedError } from './errors.js';

/** An OCI digest with the one algorithm that containerd and this project use: `sha256:` and 64 lower-case hex digits. */
export type Digest = `sha256:${string}`;

const digestPattern = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return digestPattern.test(text);
}

/** @throws CodedError `invalid-argument` when `text` is not a sha256 digest. */
export function parseDigest(text: string, what = 'digest'): Digest {
  if (isDigest(text)) return text;
  throw new CodedError('invalid-argument', `${what} ${JSON.stringify(text.slice(0, 100))} is not a sha256 digest`, {
    next: 'give "sha256:" and 64 lower-case hex digits',
  });
}

/** The 64 hex digits of a digest. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** An OCI content descriptor: what a blob is, its digest and its size in bytes. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** One entry of a Mounts answer, as `containerd.types.Mount` spells it. */
export interface Mount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

export type Labels = Readonly<Record<string, string>>;

/** A layer's diff ID; containerd 2.3 and later gives it when it prepares a snapshot to unpack a layer into. */
export const diffIdLabel = 'containerd.io/snapshot/diff-id';

/** Given on Commit or Diff: the runtime has frozen the guest's filesystem, so the image may be read while QEMU holds it. */
export const quiescedLabel = 'containerd.io/snapshot/erofs.quiesced';

/** Given on Prepare and Commit: the chain ID of what the snapshot holds, or will hold once it is committed. */
export const snapshotRefLabel = 'containerd.io/snapshot.ref';

/** A chain as containerd walks it: the newest layer first. */
export type NewestFirst<T> = readonly T[] & { readonly order: 'newest-first' };
/** Layers as an image, a VMDK and `device=` options list them: the oldest first. */
export type OldestFirst<T> = readonly T[] & { readonly order: 'oldest-first' };

/** Names the order of a list that was built newest first. */
export function newestFirst<T>(items: readonly T[]): NewestFirst<T> {
  return items as NewestFirst<T>;
}

/** Names the order of a list that was built, or is listed, oldest first. */
export function listedOldestFirst<T>(items: readonly T[]): OldestFirst<T> {
  return items as OldestFirst<T>;
}

/** The one place that reverses a chain. */
export function oldestFirst<T>(chain: NewestFirst<T>): OldestFirst<T> {
  return listedOldestFirst(chain.toReversed());
}

/** Keeps the order through a map. */
export function mapOldestFirst<T, U>(items: OldestFirst<T>, each: (item: T, index: number) => U): OldestFirst<U> {
  return listedOldestFirst(items.map(each));
}

/** Mode, owner and times of a root directory: what a guest sees as `/`. */
export interface RootAttributes {
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch; may be negative. */
  readonly mtime: bigint;
  /** 0 to 999,999,999. */
  readonly mtimeNsec: number;
}
