import { Client, credentials, Metadata } from '@grpc/grpc-js';

import {
  loadDefinitions,
  ServiceClient,
  type SnapshotInfoMessage,
  type SnapshotsMethods,
  snapshotsService,
} from '../../src/protocol/index.js';
import type { Labels, Mount } from '../../src/vocabulary.js';
import { snapshotterName } from './containerd.js';

/** Keeps a snapshot that no lease and no container names from containerd's garbage collector, as ctr does. */
const keep: Labels = { 'containerd.io/gc.root': '2024-01-01T00:00:00Z' };

const deadlineMs = 120_000;

/** What a VM runtime does: it asks containerd's Snapshots service for the mounts of a container's snapshot. */
export class SnapshotsClient {
  readonly #channel: Client;
  readonly #service: ServiceClient<SnapshotsMethods>;
  readonly #namespace: string;

  /** @param address socket of containerd, or of the snapshotter itself. */
  constructor(address: string, namespace = 'default') {
    this.#channel = new Client(`unix:${address}`, credentials.createInsecure());
    this.#service = new ServiceClient(this.#channel, loadDefinitions([snapshotsService]), snapshotsService);
    this.#namespace = namespace;
  }

  async prepare(key: string, parent: string, labels: Labels = {}): Promise<readonly Mount[]> {
    const request = { snapshotter: snapshotterName, key, parent, labels: { ...keep, ...labels } };
    return (await this.#service.unary('Prepare', request, this.#options())).mounts;
  }

  async view(key: string, parent: string, labels: Labels = {}): Promise<readonly Mount[]> {
    const request = { snapshotter: snapshotterName, key, parent, labels: { ...keep, ...labels } };
    return (await this.#service.unary('View', request, this.#options())).mounts;
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    return (await this.#service.unary('Mounts', { snapshotter: snapshotterName, key }, this.#options())).mounts;
  }

  async remove(key: string): Promise<void> {
    await this.#service.unary('Remove', { snapshotter: snapshotterName, key }, this.#options());
  }

  /** Every snapshot that the filters let through; all of them without a filter. */
  async list(filters: readonly string[] = []): Promise<readonly SnapshotInfoMessage[]> {
    const request = { snapshotter: snapshotterName, filters };
    const found: SnapshotInfoMessage[] = [];
    const options = { metadata: this.#metadata(), stallMs: deadlineMs };
    for await (const page of this.#service.stream('List', request, options)) found.push(...page.info);
    return found;
  }

  close(): void {
    this.#channel.close();
  }

  #options() {
    return { metadata: this.#metadata(), deadlineMs };
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    metadata.set('containerd-namespace', this.#namespace);
    return metadata;
  }
}
