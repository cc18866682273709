import { CodedError } from '../errors.js';
import { fromWireDescriptor, type ImageMessage, type ImagesMethods, type ServiceClient } from '../protocol/index.js';
import type { Descriptor } from '../vocabulary.js';
import { answerDeadlineMs, inNamespace } from './connection.js';
import { asContainerdError } from './errors.js';

interface ImagesOptions {
  readonly client: ServiceClient<ImagesMethods>;
  readonly socketPath: string;
}

export interface Image {
  readonly name: string;
  /** Of the manifest, or of an index of manifests for several platforms. */
  readonly target: Descriptor;
}

/** The images that containerd knows by name. */
export class Images {
  readonly #options: ImagesOptions;

  constructor(options: ImagesOptions) {
    this.#options = options;
  }

  /** @throws CodedError `not-found`, `unavailable`, `deadline-exceeded`; the signal's reason. */
  async get(name: string, namespace: string, signal: AbortSignal): Promise<Image> {
    const { client, socketPath } = this.#options;
    const options = { metadata: inNamespace(namespace), deadlineMs: answerDeadlineMs, signal };
    const { image } = await client.unary('Get', { name }, options).catch((error: unknown) => {
      const what = `find image ${JSON.stringify(name)} in namespace ${JSON.stringify(namespace)}`;
      throw asContainerdError(error, what, socketPath);
    });
    if (image === null) throw new CodedError('internal', `containerd said nothing about image ${name}`);
    return asImage(image);
  }

  /** The names of all images of a namespace. */
  async names(namespace: string, signal: AbortSignal): Promise<readonly string[]> {
    const { client, socketPath } = this.#options;
    const options = { metadata: inNamespace(namespace), deadlineMs: answerDeadlineMs, signal };
    const { images } = await client.unary('List', { filters: [] }, options).catch((error: unknown) => {
      throw asContainerdError(error, 'list its images', socketPath);
    });
    return images.map((image) => image.name);
  }
}

function asImage({ name, target }: ImageMessage): Image {
  if (target === null) throw new CodedError('data-loss', `containerd's image ${JSON.stringify(name)} has no target`);
  return { name, target: fromWireDescriptor(target) };
}
