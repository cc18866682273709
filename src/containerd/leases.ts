import { randomBytes } from 'node:crypto';
import { isCode } from '../errors.js';
import type { Logger } from '../log.js';
import type { LeasesMethods, RequestOf, ServiceClient } from '../protocol/index.js';
import type { Digest, Labels } from '../vocabulary.js';
import { answerDeadlineMs, inNamespace } from './connection.js';
import { asContainerdError } from './errors.js';

interface LeasesOptions {
  readonly client: ServiceClient<LeasesMethods>;
  readonly socketPath: string;
  readonly log: Logger;
}

export interface NewLease {
  readonly namespace: string;
  readonly id: string;
  readonly labels: Labels;
  /** When it ends by itself; a lease without stays until it is deleted. */
  readonly lifeMs?: number;
  readonly signal: AbortSignal;
}

export interface Lease {
  readonly id: string;
  readonly labels: Labels;
}

/** What a lease keeps: `content` by digest, `snapshots/<snapshotter>` by key or name. */
interface LeaseResource {
  readonly type: string;
  readonly id: string;
}

/** When containerd's garbage collector takes a lease away by itself; RFC 3339. */
const expiryLabel = 'containerd.io/gc.expire';

/** How long a garbage collection may take, in milliseconds: it walks all that containerd has. */
const collectionDeadlineMs = 120_000;

/** Leases keep containerd's garbage collector away from what nothing refers to yet. */
export class Leases {
  readonly #options: LeasesOptions;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /** @returns the id of a new lease that ends by itself after `lifeMs`. */
  async create(namespace: string, lifeMs: number, signal: AbortSignal): Promise<string> {
    const id = `erofs-snapshotter-${randomBytes(12).toString('hex')}`;
    await this.#call('Create', namespace, { id, labels: endingAfter(lifeMs) }, 'create a lease', signal);
    return id;
  }

  /** @returns false when there is a lease of that id already, which stays as it is. */
  async createNamed({ namespace, id, labels, lifeMs, signal }: NewLease): Promise<boolean> {
    const all = lifeMs === undefined ? labels : { ...labels, ...endingAfter(lifeMs) };
    try {
      await this.#call('Create', namespace, { id, labels: all }, `create lease ${id}`, signal);
      return true;
    } catch (error) {
      if (isCode(error, 'already-exists')) return false;
      throw error;
    }
  }

  /** @param filters in containerd's filter language; none: all leases. */
  async list(namespace: string, filters: readonly string[], signal: AbortSignal): Promise<readonly Lease[]> {
    return (await this.#call('List', namespace, { filters }, 'list its leases', signal)).leases;
  }

  /** Puts a blob that is there already under the lease. */
  async addContent(namespace: string, lease: string, digest: Digest, signal: AbortSignal): Promise<void> {
    await this.add(namespace, lease, { type: 'content', id: digest }, signal);
  }

  /** Puts something under the lease. containerd does not look whether it exists. */
  async add(namespace: string, lease: string, resource: LeaseResource, signal: AbortSignal): Promise<void> {
    const what = `put ${resource.type} ${resource.id} under lease ${lease}`;
    await this.#call('AddResource', namespace, { id: lease, resource }, what, signal);
  }

  /**
   * Deletes a lease; one that is gone is no trouble.
   *
   * @param collect wait until the garbage collector has taken what nothing keeps any more
   */
  async delete(namespace: string, lease: string, collect: boolean, signal?: AbortSignal): Promise<void> {
    const deadlineMs = collect ? collectionDeadlineMs : answerDeadlineMs;
    try {
      await this.#call('Delete', namespace, { id: lease, sync: collect }, `delete lease ${lease}`, signal, deadlineMs);
    } catch (error) {
      if (!isCode(error, 'not-found')) throw error;
    }
  }

  /** A lease that stays although its work failed ends by itself, so a failure is only logged. */
  async release(namespace: string, lease: string): Promise<void> {
    await this.delete(namespace, lease, false).catch((error: unknown) => {
      this.#options.log.warn({ err: error, lease, namespace }, 'could not delete a lease; it ends by itself');
    });
  }

  async #call<Name extends keyof LeasesMethods>(
    name: Name,
    namespace: string,
    request: RequestOf<LeasesMethods[Name]>,
    what: string,
    signal: AbortSignal | undefined,
    deadlineMs = answerDeadlineMs,
  ) {
    const { client, socketPath } = this.#options;
    const options = { metadata: inNamespace(namespace), deadlineMs, signal };
    return client.unary(name, request, options).catch((error: unknown) => {
      throw asContainerdError(error, what, socketPath);
    });
  }
}

function endingAfter(lifeMs: number): Labels {
  return { [expiryLabel]: new Date(Date.now() + lifeMs).toISOString() };
}
