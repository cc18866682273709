import { CodedError } from '../errors.js';
import { fromWireDescriptor, toWireDescriptor, type DiffMethods, type ServiceClient } from '../protocol/index.js';
import type { Descriptor, Mount } from '../vocabulary.js';
import { inNamespace, workDeadlineMs } from './connection.js';
import { asSnapshotError } from './errors.js';

interface DifferOptions {
  readonly client: ServiceClient<DiffMethods>;
  readonly socketPath: string;
}

export interface ApplyBlob {
  /** A layer in the content store. */
  readonly blob: Descriptor;
  /** Where containerd has the blob. */
  readonly namespace: string;
  /** What Prepare answered for the snapshot that takes the layer. */
  readonly mounts: readonly Mount[];
  readonly signal: AbortSignal;
}

/** Has layers unpacked by the differs that containerd is configured with. */
export class Differ {
  readonly #options: DifferOptions;

  constructor(options: DifferOptions) {
    this.#options = options;
  }

  /**
   * @returns the descriptor of the uncompressed tar: its digest is the diff ID.
   * @throws CodedError `unavailable`, and what the differ answers
   */
  async apply({ blob, namespace, mounts, signal }: ApplyBlob): Promise<Descriptor> {
    const { client, socketPath } = this.#options;
    const request = { diff: toWireDescriptor(blob), mounts, payloads: {}, syncFs: false };
    const options = { metadata: inNamespace(namespace), deadlineMs: workDeadlineMs, signal };
    const { applied } = await client.unary('Apply', request, options).catch((error: unknown) => {
      throw asSnapshotError(error, `unpack layer ${blob.digest}`, socketPath, undefined);
    });
    if (applied === null) throw new CodedError('internal', `containerd said nothing about layer ${blob.digest}`);
    return fromWireDescriptor(applied);
  }
}
