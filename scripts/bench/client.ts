import { Client, credentials, Metadata, status } from '@grpc/grpc-js';

import {
  type DiffMethods,
  diffService,
  loadDefinitions,
  ServiceClient,
  type SnapshotInfoMessage,
  type SnapshotsMethods,
  snapshotsService,
  toWireDescriptor,
} from '../../src/protocol/index.js';
import type { Descriptor, Labels, Mount } from '../../src/vocabulary.js';

const deadlineMs = 600_000;
/** Keeps containerd's garbage collector away from what the benchmark made. */
const keep: Labels = { 'containerd.io/gc.root': '2024-01-01T00:00:00Z' };

/** The Snapshots and Diff services of containerd, or of the daemon itself, in one namespace. */
export class BenchClient {
  readonly #channel: Client;
  readonly #snapshots: ServiceClient<SnapshotsMethods>;
  readonly #diff: ServiceClient<DiffMethods>;
  readonly #snapshotter: string;
  readonly #metadata = new Metadata();
  readonly #signal: AbortSignal;

  constructor(address: string, snapshotter: string, signal: AbortSignal) {
    const definitions = loadDefinitions([snapshotsService, diffService]);
    this.#channel = new Client(`unix:${address}`, credentials.createInsecure());
    this.#snapshots = new ServiceClient(this.#channel, definitions, snapshotsService);
    this.#diff = new ServiceClient(this.#channel, definitions, diffService);
    this.#snapshotter = snapshotter;
    this.#metadata.set('containerd-namespace', 'default');
    this.#signal = signal;
  }

  async prepare(key: string, parent: string, labels: Labels = {}): Promise<readonly Mount[]> {
    return (await this.#snapshots.unary('Prepare', this.#creation(key, parent, labels), this.#options())).mounts;
  }

  async view(key: string, parent: string): Promise<readonly Mount[]> {
    return (await this.#snapshots.unary('View', this.#creation(key, parent, {}), this.#options())).mounts;
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    return (await this.#snapshots.unary('Mounts', this.#key(key), this.#options())).mounts;
  }

  async stat(key: string): Promise<SnapshotInfoMessage | null> {
    return (await this.#snapshots.unary('Stat', this.#key(key), this.#options())).info;
  }

  async commit(name: string, key: string): Promise<void> {
    const request = { snapshotter: this.#snapshotter, name, key, labels: keep, parent: '' };
    await this.#snapshots.unary('Commit', request, this.#options());
  }

  async remove(key: string): Promise<void> {
    await this.#snapshots.unary('Remove', this.#key(key), this.#options());
  }

  async cleanup(): Promise<void> {
    await this.#snapshots.unary('Cleanup', { snapshotter: this.#snapshotter }, this.#options());
  }

  async list(filters: readonly string[] = []): Promise<readonly SnapshotInfoMessage[]> {
    const found: SnapshotInfoMessage[] = [];
    const options = { metadata: this.#metadata, stallMs: deadlineMs, signal: this.#signal };
    for await (const page of this.#snapshots.stream('List', { snapshotter: this.#snapshotter, filters }, options)) {
      found.push(...page.info);
    }
    return found;
  }

  /** Applies one layer to the mounts of an extract snapshot. */
  async apply(layer: Descriptor, mounts: readonly Mount[]): Promise<void> {
    const request = { diff: toWireDescriptor(layer), mounts, payloads: {}, syncFs: false };
    await this.#diff.unary('Apply', request, this.#options());
  }

  /**
   * Writes what `right` has over `left` as a layer, gzip.
   *
   * @returns the layer's digest.
   */
  async diff(left: readonly Mount[], right: readonly Mount[], ref: string): Promise<string> {
    const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
    const request = { left, right, mediaType, ref, labels: {}, sourceDateEpoch: null };
    return (await this.#diff.unary('Diff', request, this.#options())).diff?.digest ?? '';
  }

  close(): void {
    this.#channel.close();
  }

  #creation(key: string, parent: string, labels: Labels) {
    return { snapshotter: this.#snapshotter, key, parent, labels: { ...keep, ...labels } };
  }

  #key(key: string) {
    return { snapshotter: this.#snapshotter, key };
  }

  #options() {
    return { metadata: this.#metadata, deadlineMs, signal: this.#signal };
  }
}

/** True when a service answered that the call is none of its business. */
export function isUnimplemented(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === status.UNIMPLEMENTED;
}
