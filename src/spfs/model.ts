import type { Digest, Mount, OldestFirst } from '../vocabulary.js';

/** A set of files below `/spfs`: a layer of the snapshotter. */
export interface Layer {
  readonly kind: 'layer';
  /** The layer's diff ID: the digest of its uncompressed tar. */
  readonly digest: Digest;
  /** RFC 3339. */
  readonly createdAt: string;
  /** Where it came from, for a person: an image's name, a path. */
  readonly origin: string;
}

/** A stack of layers with a digest of its own. */
export interface Platform {
  readonly kind: 'platform';
  readonly digest: Digest;
  readonly layers: OldestFirst<Digest>;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly origin: string;
}

/** What a digest of a spec can mean, and what a tag points to. */
export type StoredObject = Layer | Platform;

/** One entry in the history of a tag. */
export interface TagEntry {
  readonly digest: Digest;
  /** Who made it. */
  readonly user: string;
  /** RFC 3339. */
  readonly time: string;
}

/** A folder or file of the host that a run sees below `/spfs`. */
export interface LiveBind {
  /** Absolute path on the host, symlinks resolved. */
  readonly source: string;
  /** Absolute path in the guest, `/spfs` or below it, normalised. */
  readonly destination: string;
}

/** A live layer file, read and checked. */
export interface LiveLayer {
  readonly file: string;
  /** In the file's order. */
  readonly binds: readonly LiveBind[];
}

/** What an env spec means once every item has been looked up. */
export interface Environment {
  /** The stack at `/spfs`, the lowest layer first, each layer once. */
  readonly layers: OldestFirst<Digest>;
  /** Applied over the stack, in order. */
  readonly liveLayers: readonly LiveLayer[];
}

/** A stack as containerd knows it. */
export interface Chain {
  /** The chain ID, which is the name of the committed snapshot; empty for an empty stack. */
  readonly name: string;
  readonly layers: OldestFirst<Digest>;
}

/** The disks of a chain, for as long as they are held. */
export interface OpenChain {
  readonly chain: Chain;
  /** The Mounts answer of a View; empty for an empty stack. */
  readonly mounts: readonly Mount[];
  /** Gives up what kept it. Safe to call twice; never throws, logs. */
  close(): Promise<void>;
}
