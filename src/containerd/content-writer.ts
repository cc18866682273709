import { randomBytes } from 'node:crypto';
import { isCode, CodedError } from '../errors.js';
import type { Logger } from '../log.js';
import { toInt64, type ContentMethods, type RequestOf, type ServiceClient } from '../protocol/index.js';
import type { Digest, Labels } from '../vocabulary.js';
import { answerDeadlineMs, inNamespace, stallMs } from './connection.js';
import type { Content } from './content.js';
import { asContainerdError } from './errors.js';
import type { Leases } from './leases.js';

export interface NewBlob {
  /** Name of the upload: one that is known and unfinished begins anew. Empty for one of its own. */
  readonly ref: string;
  readonly content: AsyncIterable<Uint8Array>;
  /** Called when `content` has ended. `size` is in bytes. */
  readonly finished: () => { readonly digest: Digest; readonly size: number; readonly labels: Labels };
  readonly namespace: string;
  /** The caller's own lease, when it has one. */
  readonly lease: string | undefined;
  readonly signal: AbortSignal;
}

interface ContentWriterOptions {
  readonly client: ServiceClient<ContentMethods>;
  readonly content: Content;
  readonly leases: Leases;
  readonly socketPath: string;
  readonly log: Logger;
}

type WriteRequest = RequestOf<ContentMethods['Write']>;

/**
 * How long a blob is kept for a caller that brought no lease. containerd does not hand its clients' leases on to differs that
 * are plugins of another process, so that is every caller that goes through containerd; within this time it must have made
 * something that refers to the blob.
 */
const leaseMs = 60 * 60 * 1000;

/** Bytes in one message; containerd takes up to 16 MiB. */
const messageBytes = 1024 * 1024;
const nothing = new Uint8Array();

/** Writes blobs into containerd's content store. */
export class ContentWriter {
  readonly #options: ContentWriterOptions;

  constructor(options: ContentWriterOptions) {
    this.#options = options;
  }

  /**
   * Writes a blob, or finds that it is there already, and keeps the garbage collector away from it: by the caller's lease, or
   * by one that ends an hour later. A call that fails leaves no unfinished upload.
   *
   * @throws CodedError `unavailable` containerd is not there, or another upload uses `ref`; `not-found` no such lease;
   *   `resource-exhausted`, `deadline-exceeded`, and whatever else containerd answers; what `content` throws
   */
  async write(blob: NewBlob): Promise<void> {
    const { leases } = this.#options;
    const { namespace, signal } = blob;
    const lease = blob.lease ?? (await leases.create(namespace, leaseMs, signal));
    try {
      const { digest, labels, existed } = await this.#upload(blob, lease);
      if (!existed) return;
      await leases.addContent(namespace, lease, digest, signal);
      await this.#label(digest, labels, namespace, signal);
    } catch (error) {
      if (lease !== blob.lease) await leases.release(namespace, lease);
      throw error;
    }
  }

  async #upload({ ref: given, content, finished, namespace, signal }: NewBlob, lease: string) {
    const ref = given === '' ? `erofs-snapshotter-diff-${randomBytes(12).toString('hex')}` : given;
    const metadata = inNamespace(namespace, lease);
    const call = this.#options.client.exchange('Write', { metadata, stallMs, signal });
    let opened = false;
    try {
      await call.send(request({ action: 'STAT', ref }));
      opened = true;
      let offset = 0;
      for await (const data of inMessages(content)) {
        await call.send(request({ action: 'WRITE', ref, offset: toInt64(offset, 'an offset'), data }));
        offset += data.length;
      }
      const { digest, size, labels } = finished();
      const total = toInt64(size, 'the size of a blob');
      const commit = request({ action: 'COMMIT', ref, expected: digest, total, offset: total, labels });
      const existed = await existsAlready(call.send(commit));
      return { digest, labels, existed };
    } catch (error) {
      call.close();
      // An upload that this call did not open may be another client's, unless its name was made up here: containerd may have
      // opened that one though the answer was not awaited.
      if (opened || (given === '' && signal.aborted)) await this.#abort(ref, namespace);
      throw uploadError(error, ref, opened, this.#options.socketPath);
    } finally {
      call.close();
    }
  }

  /** A blob that was there may lack labels that this one was to have. */
  async #label(digest: Digest, labels: Labels, namespace: string, signal: AbortSignal): Promise<void> {
    const { client, content, socketPath } = this.#options;
    const found = await content.info(digest, namespace, signal);
    const missing = Object.entries(labels).filter(([key]) => found.labels[key] === undefined);
    if (missing.length === 0) return;
    const info = { digest, size: '0', createdAt: null, updatedAt: null, labels: Object.fromEntries(missing) };
    const updateMask = { paths: missing.map(([key]) => `labels.${key}`) };
    const options = { metadata: inNamespace(namespace), deadlineMs: answerDeadlineMs, signal };
    await client.unary('Update', { info, updateMask }, options).catch((error: unknown) => {
      throw asContainerdError(error, `label blob ${digest}`, socketPath);
    });
  }

  async #abort(ref: string, namespace: string): Promise<void> {
    const { client, log, socketPath } = this.#options;
    const options = { metadata: inNamespace(namespace), deadlineMs: answerDeadlineMs };
    await client.unary('Abort', { ref }, options).catch((error: unknown) => {
      const cause = asContainerdError(error, `abort upload ${ref}`, socketPath);
      if (!isCode(cause, 'not-found')) log.warn({ err: cause, ref, namespace }, 'an unfinished upload stays');
    });
  }
}

function request(given: Partial<WriteRequest> & Pick<WriteRequest, 'action' | 'ref'>): WriteRequest {
  return { total: '0', expected: '', offset: '0', data: nothing, labels: {}, ...given };
}

async function existsAlready(commit: Promise<unknown>): Promise<boolean> {
  try {
    await commit;
    return false;
  } catch (error) {
    if (isCode(asContainerdError(error, 'commit a blob', ''), 'already-exists')) return true;
    throw error;
  }
}

/** containerd answers UNAVAILABLE too when a ref is in use, and then it is there. */
function uploadError(error: unknown, ref: string, opened: boolean, socketPath: string): unknown {
  const cause = asContainerdError(error, `take upload ${ref}`, socketPath);
  if (opened || !isCode(cause, 'unavailable') || !/locked/.test(cause.message)) return cause;
  return new CodedError('unavailable', `another upload uses the reference ${JSON.stringify(ref)}`, {
    facts: { ref },
    next: 'wait for it, or name another reference',
    cause: error,
  });
}

/** Joins parts up to the size of a message: each message is answered before the next is sent. */
async function* inMessages(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of content) {
    parts.push(part);
    bytes += part.length;
    if (bytes < messageBytes) continue;
    yield Buffer.concat(parts);
    parts = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(parts);
}
