import type { Logger } from '../log.js';
import {
  contentService,
  eventsService,
  introspectionService,
  leasesService,
  loadDefinitions,
  ServiceClient,
} from '../protocol/index.js';
import { openChannel } from './connection.js';
import { Content } from './content.js';
import { ContentWriter } from './content-writer.js';
import { findContentRoot } from './introspection.js';
import { Leases } from './leases.js';

export type { Content } from './content.js';
export type { ContentSource } from './content-source.js';
export type { ContentWriter, NewBlob } from './content-writer.js';

export interface ContainerdOptions {
  /** Path of containerd's unix socket. */
  readonly address: string;
  /** For calls that come without a namespace. */
  readonly defaultNamespace: string;
  readonly log: Logger;
}

export interface Containerd {
  readonly content: Content;
  readonly blobs: ContentWriter;
  close(): void;
}

/** Clients of one containerd. Nothing is connected before the first call, so containerd may start later than this. */
export function connectContainerd(options: ContainerdOptions): Containerd {
  const { address, defaultNamespace, log } = options;
  const channel = openChannel(address);
  const definitions = loadDefinitions([contentService, eventsService, introspectionService, leasesService]);
  const introspection = new ServiceClient(channel, definitions, introspectionService);

  let known: Promise<string | undefined> | undefined;
  const contentRoot = () => {
    // Forgotten when asking fails, so that the next call asks again.
    known ??= findContentRoot(introspection, address).catch((error: unknown) => {
      known = undefined;
      throw error;
    });
    return known;
  };

  const client = new ServiceClient(channel, definitions, contentService);
  const socketPath = address;
  const events = new ServiceClient(channel, definitions, eventsService);
  const content = new Content({ client, events, contentRoot, socketPath, defaultNamespace, log });
  const leases = new Leases({ client: new ServiceClient(channel, definitions, leasesService), socketPath, log });
  return {
    content,
    blobs: new ContentWriter({ client, content, leases, socketPath, log }),
    close: () => channel.close(),
  };
}
