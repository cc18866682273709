import { randomBytes } from 'node:crypto';
import type { Logger } from '../log.js';
import type { LeasesMethods, ServiceClient } from '../protocol/index.js';
import type { Digest } from '../vocabulary.js';
import { answerDeadlineMs, inNamespace } from './connection.js';
import { asContainerdError } from './errors.js';

interface LeasesOptions {
  readonly client: ServiceClient<LeasesMethods>;
  readonly socketPath: string;
  readonly log: Logger;
}

/** When containerd's garbage collector takes a lease away by itself; RFC 3339. */
const expiryLabel = 'containerd.io/gc.expire';

/** Leases keep containerd's garbage collector away from what nothing refers to yet. */
export class Leases {
  readonly #options: LeasesOptions;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /** @returns the id of a new lease that ends by itself after `lifeMs`. */
  async create(namespace: string, lifeMs: number, signal: AbortSignal): Promise<string> {
    const id = `erofs-snapshotter-${randomBytes(12).toString('hex')}`;
    const expiry = new Date(Date.now() + lifeMs).toISOString();
    const options = { metadata: inNamespace(namespace), deadlineMs: answerDeadlineMs, signal };
    await this.#options.client
      .unary('Create', { id, labels: { [expiryLabel]: expiry } }, options)
      .catch((error: unknown) => {
        throw asContainerdError(error, 'create a lease', this.#options.socketPath);
      });
    return id;
  }

  /** Puts a blob that is there already under the lease. */
  async addContent(namespace: string, lease: string, digest: Digest, signal: AbortSignal): Promise<void> {
    const options = { metadata: inNamespace(namespace), deadlineMs: answerDeadlineMs, signal };
    await this.#options.client
      .unary('AddResource', { id: lease, resource: { id: digest, type: 'content' } }, options)
      .catch((error: unknown) => {
        throw asContainerdError(error, `put blob ${digest} under lease ${lease}`, this.#options.socketPath);
      });
  }

  /** A lease that stays although its work failed ends by itself, so a failure is only logged. */
  async release(namespace: string, lease: string): Promise<void> {
    const options = { metadata: inNamespace(namespace), deadlineMs: answerDeadlineMs };
    await this.#options.client.unary('Delete', { id: lease, sync: false }, options).catch((error: unknown) => {
      this.#options.log.warn({ err: error, lease, namespace }, 'could not delete a lease; it ends by itself');
    });
  }
}
