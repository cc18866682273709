import { arch } from 'node:process';
import { CodedError } from '../../errors.js';
import type { Descriptor } from '../../vocabulary.js';

/** A manifest in an index, with the platform that it is for; undefined where the index does not say. */
export interface Offered {
  readonly descriptor: Descriptor;
  readonly platform: { readonly os: string; readonly architecture: string; readonly variant?: string } | undefined;
}

/** Node's names of architectures where Go, and so OCI, has others. */
const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  loong64: 'loong64',
  mipsel: 'mipsle',
};

/** This host's architecture as OCI names it. */
export function hostArchitecture(nodeName: string = arch): string {
  return architectures[nodeName] ?? nodeName;
}

/**
 * The manifest for this host; where none says a platform, the first.
 *
 * @param image for messages
 * @throws CodedError `failed-precondition` none is for this host
 */
export function chooseManifest(
  offered: readonly Offered[],
  image: string,
  architecture = hostArchitecture(),
): Descriptor {
  // Build attestations stand beside the images under a platform that no host has.
  const images = offered.filter(({ platform }) => platform?.os !== 'unknown');
  const fitting = images.find(({ platform }) => platform?.os === 'linux' && platform.architecture === architecture);
  const chosen = fitting ?? images.find(({ platform }) => platform === undefined);
  if (chosen !== undefined) return chosen.descriptor;
  const there = images.map(({ platform }) => named(platform)).join(', ');
  throw new CodedError(
    'failed-precondition',
    `image ${JSON.stringify(image)} is not for linux/${architecture}, only for ${there === '' ? 'no platform at all' : there}`,
    { facts: { image, architecture }, next: 'give an image for this host' },
  );
}

function named(platform: Offered['platform']): string {
  if (platform === undefined) return 'a platform that it does not name';
  const { os, architecture, variant } = platform;
  return [os, architecture, ...(variant === undefined || variant === '' ? [] : [variant])].join('/');
}
