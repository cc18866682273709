import { constants } from 'node:fs';
import { access, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { isCode, CodedError } from '../errors.js';
import type { Logger } from '../log.js';
import { fromInt64, toInt64, type ServiceClient } from '../protocol/index.js';
import type { ContentMethods, EventsMethods } from '../protocol/index.js';
import { hexOf, parseDigest, type Descriptor, type Digest, type Labels } from '../vocabulary.js';
import { answerDeadlineMs, inNamespace, stallMs } from './connection.js';
import type { ContentSource } from './content-source.js';
import { asContainerdError } from './errors.js';
import { downloads, downloadsBegun, openDownload } from './downloads.js';
import { blobsCompleted } from './events.js';
import { layersAfter, layersWith, type ManifestReader, type ManifestLayer } from './manifests.js';

export interface ContentInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly labels: Labels;
}

interface ContentOptions {
  readonly client: ServiceClient<ContentMethods>;
  readonly events: ServiceClient<EventsMethods>;
  /** The folder with containerd's blobs, when containerd tells. */
  readonly contentRoot: () => Promise<string | undefined>;
  readonly socketPath: string;
  readonly defaultNamespace: string;
  readonly log: Logger;
}

/** Reads containerd's content store. Callers check digests, since only the whole of a blob can be checked. */
export class Content {
  readonly #options: ContentOptions;

  constructor(options: ContentOptions) {
    this.#options = options;
  }

  /** @throws CodedError `not-found`, `unavailable`, `deadline-exceeded`; the signal's reason. */
  async info(digest: Digest, namespace?: string, signal?: AbortSignal): Promise<ContentInfo> {
    const { client, defaultNamespace, socketPath } = this.#options;
    const space = namespace ?? defaultNamespace;
    const what = `find blob ${digest} in namespace ${JSON.stringify(space)}`;
    const { info } = await client
      .unary('Info', { digest }, { metadata: inNamespace(space), deadlineMs: answerDeadlineMs, signal })
      .catch((error: unknown) => {
        throw withAdvice(asContainerdError(error, what, socketPath), digest, space);
      });
    if (info === null) throw new CodedError('internal', `containerd said nothing about blob ${digest}`);
    return { digest, size: fromInt64(info.size, `the size of blob ${digest}`), labels: info.labels };
  }

  /**
   * The file when it is readable and as long as containerd says, since that beats streaming; else the stream.
   *
   * The call to containerd comes first in either case: a file on disk may belong to another namespace.
   *
   * @throws CodedError as `info`; `invalid-argument` for a digest that is not sha256; `data-loss` when descriptor
   * and store disagree about the size.
   */
  async open(descriptor: Descriptor, namespace?: string, signal?: AbortSignal): Promise<ContentSource> {
    const digest = parseDigest(descriptor.digest, "the layer's digest");
    const { size } = await this.info(digest, namespace, signal);
    // Zero is what a client sends that does not know.
    if (descriptor.size !== 0 && descriptor.size !== size) {
      throw new CodedError(
        'data-loss',
        `blob ${digest} is ${size} bytes long, and its descriptor says ${descriptor.size}`,
        { next: 'remove the image and pull it again' },
      );
    }
    const path = await this.#readableFile(digest, size);
    if (path !== undefined) return { kind: 'file', path, size };
    return { kind: 'stream', stream: this.#read(digest, size, namespace, signal), size };
  }

  /** See `blobsCompleted` in events.ts. */
  completed(namespace: string | undefined, signal: AbortSignal): AsyncIterable<void> {
    const { events, defaultNamespace } = this.#options;
    return blobsCompleted(events, namespace ?? defaultNamespace, signal);
  }

  /** See `layersAfter` in manifests.ts. */
  layersAfter(digest: Digest, position: number, namespace?: string): Promise<readonly ManifestLayer[]> {
    return layersAfter(this.#manifests, digest, position, namespace ?? this.#options.defaultNamespace);
  }

  /** See `layersWith` in manifests.ts. */
  layersWith(digest: Digest, namespace?: string): Promise<readonly ManifestLayer[]> {
    return layersWith(this.#manifests, digest, namespace ?? this.#options.defaultNamespace);
  }

  /** The layers that are being fetched; none where containerd's files cannot be read. */
  async downloads(namespace?: string): Promise<readonly Digest[]> {
    const root = await this.#options.contentRoot();
    return root === undefined ? [] : downloads(root, namespace ?? this.#options.defaultNamespace);
  }

  /** See `openDownload` in downloads.ts. */
  async openDownload(digest: Digest, namespace?: string): Promise<FileHandle | undefined> {
    const root = await this.#options.contentRoot();
    return root === undefined ? undefined : openDownload(root, namespace ?? this.#options.defaultNamespace, digest);
  }

  /** See `downloadsBegun` in downloads.ts. */
  async *begun(signal: AbortSignal): AsyncGenerator<void> {
    const root = await this.#options.contentRoot();
    if (root !== undefined) yield* downloadsBegun(root, signal);
  }

  get #manifests(): ManifestReader {
    const { client, socketPath } = this.#options;
    return { client, socketPath, open: (descriptor, space) => this.open(descriptor, space) };
  }

  async #readableFile(digest: Digest, size: number): Promise<string | undefined> {
    const { contentRoot, log } = this.#options;
    try {
      const root = await contentRoot();
      if (root === undefined) return undefined;
      const path = join(root, 'blobs', 'sha256', hexOf(digest));
      const found = await stat(path);
      if (found.isFile() && found.size === size) {
        await access(path, constants.R_OK);
        return path;
      }
    } catch (error) {
      log.debug({ err: error, digest }, 'reading the blob through containerd, since its file cannot be read');
    }
    return undefined;
  }

  async *#read(digest: Digest, size: number, namespace?: string, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const { client, defaultNamespace, socketPath } = this.#options;
    const space = namespace ?? defaultNamespace;
    let received = 0;
    const request = { digest, offset: toInt64(0, 'offset'), size: toInt64(0, 'size') };
    try {
      for await (const part of client.stream('Read', request, { metadata: inNamespace(space), stallMs, signal })) {
        if (fromInt64(part.offset, 'the offset') !== received) break;
        received += part.data.length;
        yield part.data;
      }
    } catch (error) {
      throw withAdvice(asContainerdError(error, `read blob ${digest}`, socketPath), digest, space);
    }
    if (received === size) return;
    throw new CodedError('data-loss', `blob ${digest} is ${size} bytes long, and containerd sent ${received} in order`);
  }
}

function withAdvice(error: unknown, digest: Digest, namespace: string): unknown {
  if (!isCode(error, 'not-found')) return error;
  return new CodedError('not-found', error.message, {
    facts: { ...error.facts, digest, namespace },
    next: 'pull the image in that namespace, or name the right one with --containerd-namespace',
    cause: error,
  });
}
