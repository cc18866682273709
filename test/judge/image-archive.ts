import { spawnSync } from 'node:child_process';
import { chainId, mediaTypes, sha256 } from '../../scripts/rig/oci-layout.js';
import { archive, entry } from './tar-bytes.js';

/** What `ctr images import` takes, and the chain ID that it unpacks it under. */
export interface ImageArchive {
  readonly tar: Buffer;
  readonly chain: string;
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const architecture = process.arch === 'x64' ? 'amd64' : process.arch;

function configuration(layers: readonly Buffer[]): Buffer {
  const rootfs = { type: 'layers', diff_ids: layers.map(sha256) };
  return json({ created: '1970-01-01T00:00:00Z', architecture, os: 'linux', config: { Cmd: ['/bin/sh'] }, rootfs });
}

const fileOf = (name: string, content: Buffer) => entry({ name }, content.toString('latin1'));

/** An archive of an OCI layout with plain layers. */
export function ociArchive(name: string, layers: readonly Buffer[]): ImageArchive {
  const blobs = new Map<string, Buffer>();
  const put = (content: Buffer, mediaType: string) => {
    blobs.set(sha256(content), content);
    return { mediaType, digest: sha256(content), size: content.length };
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: put(configuration(layers), mediaTypes.config),
    layers: layers.map((layer) => put(layer, mediaTypes.layer.plain)),
  };
  const described = {
    ...put(json(manifest), mediaTypes.manifest),
    platform: { architecture, os: 'linux' },
    annotations: { 'io.containerd.image.name': name },
  };
  const tar = archive(
    fileOf('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    fileOf('index.json', json({ schemaVersion: 2, manifests: [described] })),
    ...[...blobs].map(([digest, content]) => fileOf(`blobs/sha256/${digest.slice('sha256:'.length)}`, content)),
  );
  return { tar, chain: chainId(layers.map(sha256)) };
}

/** The archive of `docker save` before Docker 25, with layers that are compressed by zstd. */
export function dockerArchive(name: string, layers: readonly Buffer[]): ImageArchive {
  const packed = layers.map((layer) => spawnSync('zstd', ['-q', '-c'], { input: layer }).stdout);
  const Layers = layers.map((_, index) => `${index}.tar`);
  const tar = archive(
    fileOf('config.json', configuration(layers)),
    ...packed.map((content, index) => fileOf(`${index}.tar`, content)),
    fileOf('manifest.json', json([{ Config: 'config.json', RepoTags: [name], Layers }])),
  );
  return { tar, chain: chainId(layers.map(sha256)) };
}
