import { CodedError } from '../errors.js';
import type { RequestOf, ServiceClient, SnapshotInfoMessage, SnapshotsMethods } from '../protocol/index.js';
import type { Labels, Mount } from '../vocabulary.js';
import { answerDeadlineMs, inNamespace, workDeadlineMs } from './connection.js';
import { asSnapshotError } from './errors.js';

interface SnapshotsOptions {
  readonly client: ServiceClient<SnapshotsMethods>;
  /** As containerd names the plugin. */
  readonly snapshotter: string;
  readonly namespace: string;
  readonly socketPath: string;
}

export interface NewSnapshot {
  readonly key: string;
  /** Name of a committed snapshot, or empty. */
  readonly parent: string;
  readonly labels?: Labels;
  /** The lease that the new snapshot comes under. */
  readonly lease: string;
  readonly signal: AbortSignal;
}

export interface CommitOptions {
  readonly name: string;
  readonly key: string;
  readonly labels?: Labels;
  readonly lease: string;
  readonly signal: AbortSignal;
}

/**
 * The snapshots of one snapshotter in one namespace, as containerd's metadata knows them.
 *
 * Every method throws CodedError: `unavailable` containerd or the snapshotter does not answer, `failed-precondition`
 * containerd has no such snapshotter, and what the snapshotter itself answers.
 */
export class Snapshots {
  readonly #options: SnapshotsOptions;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /**
   * @throws CodedError `already-exists` the key is taken; or, when the labels name a reference
   *   (`containerd.io/snapshot.ref`), that snapshot is here, and is under the lease now
   */
  async prepare({ key, parent, labels = {}, lease, signal }: NewSnapshot): Promise<readonly Mount[]> {
    const request = { snapshotter: this.#options.snapshotter, key, parent, labels };
    const { mounts } = await this.#call('Prepare', request, `prepare snapshot ${key}`, workDeadlineMs, signal, lease);
    return mounts;
  }

  async view({ key, parent, labels = {}, lease, signal }: NewSnapshot): Promise<readonly Mount[]> {
    const request = { snapshotter: this.#options.snapshotter, key, parent, labels };
    const what = `make a view of snapshot ${parent}`;
    return (await this.#call('View', request, what, workDeadlineMs, signal, lease)).mounts;
  }

  async commit({ name, key, labels = {}, lease, signal }: CommitOptions): Promise<void> {
    const request = { snapshotter: this.#options.snapshotter, name, key, labels, parent: '' };
    await this.#call('Commit', request, `commit snapshot ${name}`, workDeadlineMs, signal, lease);
  }

  async remove(key: string, signal?: AbortSignal): Promise<void> {
    await this.#call(
      'Remove',
      { snapshotter: this.#options.snapshotter, key },
      `remove snapshot ${key}`,
      undefined,
      signal,
    );
  }

  async stat(key: string, signal?: AbortSignal): Promise<SnapshotInfoMessage> {
    const request = { snapshotter: this.#options.snapshotter, key };
    const { info } = await this.#call('Stat', request, `find snapshot ${key}`, undefined, signal);
    if (info === null) throw new CodedError('internal', `containerd said nothing about snapshot ${key}`);
    return info;
  }

  async #call<Name extends Exclude<keyof SnapshotsMethods, 'List'>>(
    name: Name,
    request: RequestOf<SnapshotsMethods[Name]>,
    what: string,
    deadlineMs = answerDeadlineMs,
    signal?: AbortSignal,
    lease?: string,
  ) {
    const { client, namespace, socketPath, snapshotter } = this.#options;
    const options = { metadata: inNamespace(namespace, lease), deadlineMs, signal };
    return client.unary(name, request, options).catch((error: unknown) => {
      throw asSnapshotError(error, what, socketPath, snapshotter);
    });
  }
}
