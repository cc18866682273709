import type { Logger } from '../log.js';
import {
  contentService,
  diffService,
  eventsService,
  imagesService,
  introspectionService,
  leasesService,
  loadDefinitions,
  ServiceClient,
  snapshotsService,
} from '../protocol/index.js';
import { openChannel } from './connection.js';
import { Content } from './content.js';
import { ContentWriter } from './content-writer.js';
import { Differ } from './differ.js';
import { Images } from './images.js';
import { findContentRoot } from './introspection.js';
import { Leases } from './leases.js';
import { Snapshots } from './snapshots.js';

export type { Content } from './content.js';
export type { ManifestLayer } from './manifests.js';
export type { ContentSource } from './content-source.js';
export type { ContentWriter, NewBlob } from './content-writer.js';
export type { Differ } from './differ.js';
export type { Images } from './images.js';
export type { Leases } from './leases.js';
export type { Snapshots } from './snapshots.js';

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

/** What a client of containerd's needs that has layers unpacked and keeps them; `Containerd` is what its plugins need. */
export interface ContainerdClient extends Containerd {
  readonly address: string;
  readonly leases: Leases;
  readonly images: Images;
  readonly differ: Differ;
  /** @param snapshotter as containerd names the plugin */
  snapshots(snapshotter: string, namespace: string): Snapshots;
}

/** Clients of one containerd. Nothing is connected before the first call, so containerd may start later than this. */
export function connectContainerd(options: ContainerdOptions): Containerd {
  const { content, blobs, close } = connect(options);
  return { content, blobs, close };
}

/** The same with more services. A plugin of containerd's does without, since each costs memory. */
export function connectAsClient(options: ContainerdOptions): ContainerdClient {
  const { channel, leases, content, blobs, close } = connect(options);
  const { address: socketPath } = options;
  const definitions = loadDefinitions([diffService, imagesService, snapshotsService]);
  const client = new ServiceClient(channel, definitions, snapshotsService);
  return {
    content,
    blobs,
    address: socketPath,
    leases,
    images: new Images({ client: new ServiceClient(channel, definitions, imagesService), socketPath }),
    differ: new Differ({ client: new ServiceClient(channel, definitions, diffService), socketPath }),
    snapshots: (snapshotter, namespace) => new Snapshots({ client, snapshotter, namespace, socketPath }),
    close,
  };
}

function connect(options: ContainerdOptions) {
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
  const blobs = new ContentWriter({ client, content, leases, socketPath, log });
  return { channel, content, leases, blobs, close: () => channel.close() };
}
