import type { Logger } from '../log.js';
import { contentService, introspectionService, loadDefinitions, ServiceClient } from '../protocol/index.js';
import { openChannel } from './connection.js';
import { Content } from './content.js';
import { findContentRoot } from './introspection.js';

export type { Content, ContentSource } from './content.js';

export interface ContainerdOptions {
  /** Path of containerd's unix socket. */
  readonly address: string;
  /** For calls that come without a namespace. */
  readonly defaultNamespace: string;
  readonly log: Logger;
}

export interface Containerd {
  readonly content: Content;
  close(): void;
}

/** Clients of one containerd. Nothing is connected before the first call, so containerd may start later than this. */
export function connectContainerd(options: ContainerdOptions): Containerd {
  const { address, defaultNamespace, log } = options;
  const channel = openChannel(address);
  const definitions = loadDefinitions([contentService, introspectionService]);
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
  return {
    content: new Content({ client, contentRoot, socketPath: address, defaultNamespace, log }),
    close: () => channel.close(),
  };
}
