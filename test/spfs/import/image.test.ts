import { describe, expect, it } from 'vitest';
import { findImage } from '../../../src/spfs/import/index.js';
import { hostArchitecture } from '../../../src/spfs/import/platforms.js';
import { FakeImages, sha256 } from './images.js';

const oci = 'application/vnd.oci.image';
const docker = 'application/vnd.docker';
const { signal } = new AbortController();
const diffIds = [sha256('one'), sha256('two')];

class Fake extends FakeImages {
  /** A manifest of two layers, or as `given` says. */
  manifest(
    given: { mediaType?: string; layerType?: string; config?: unknown; configType?: string; layers?: number } = {},
  ) {
    const { mediaType = `${oci}.manifest.v1+json`, layerType = `${oci}.layer.v1.tar+gzip`, layers = 2 } = given;
    const content = given.config ?? { rootfs: { type: 'layers', diff_ids: diffIds } };
    const config = this.put(given.configType ?? `${oci}.config.v1+json`, content);
    const layer = (index: number) => ({ mediaType: layerType, digest: sha256(`blob ${index}`), size: index });
    return this.put(mediaType, { config, layers: Array.from({ length: layers }, (_, index) => layer(index)) });
  }

  find() {
    return findImage({ containerd: this.containerd, name: 'image', namespace: 'n', signal });
  }
}

const here = { os: 'linux', architecture: hostArchitecture() };
const there = { os: 'linux', architecture: 'arm', variant: 'v7' };
const index = `${oci}.index.v1+json`;

describe('the layers of an image', () => {
  it('come with their blobs, the lowest first', async () => {
    const fake = new Fake();
    fake.target = fake.manifest();
    const { layers, blobs, foreign } = await fake.find();
    expect([layers, foreign.size]).toEqual([diffIds, 0]);
    expect(blobs.get(layers[1]!)).toMatchObject({ blob: { digest: sha256('blob 1') }, namespace: 'n' });
  });

  it.each([
    ['an OCI index', index, `${oci}.manifest.v1+json`],
    [
      "Docker's manifest list",
      `${docker}.distribution.manifest.list.v2+json`,
      `${docker}.distribution.manifest.v2+json`,
    ],
  ])("are those for this host's platform in %s, whatever else it has", async (_, list, mediaType) => {
    const fake = new Fake();
    const other = fake.manifest({ mediaType, layers: 5 });
    const manifests = [
      { ...other, platform: { os: 'unknown', architecture: 'unknown' } },
      { ...other, platform: there },
      { ...fake.manifest({ mediaType }), platform: here },
    ];
    fake.target = fake.put(list, { manifests });
    expect((await fake.find()).layers).toEqual(diffIds);
    fake.target = fake.put(index, { manifests: [fake.target] });
    expect((await fake.find()).layers).toEqual(diffIds);
  });

  it('are told apart from those that registries do not give out', async () => {
    const fake = new Fake();
    fake.target = fake.manifest({ layerType: `${docker}.image.rootfs.foreign.diff.tar.gzip` });
    const { blobs, foreign } = await fake.find();
    expect([blobs.size, [...foreign.keys()]]).toEqual([0, diffIds]);
  });
});

describe('what is not an image of layers for this host', () => {
  it.each<[string, (fake: Fake) => Fake['target'], string, RegExp]>([
    [
      'an index for other hosts',
      (fake) => fake.put(index, { manifests: [{ ...fake.manifest(), platform: there }] }),
      'failed-precondition',
      new RegExp(`is not for linux/${hostArchitecture()}, only for linux/arm/v7`),
    ],
    ['an empty index', (fake) => fake.put(index, { manifests: [] }), 'failed-precondition', /no platform at all/],
    [
      'a manifest of schema 1',
      (fake) => fake.manifest({ mediaType: `${docker}.distribution.manifest.v1+prettyjws` }),
      'failed-precondition',
      /has a manifest of schema 1/,
    ],
    [
      'a chart',
      (fake) => fake.manifest({ config: { name: 'chart' }, configType: 'application/vnd.cncf.helm.config.v1+json' }),
      'failed-precondition',
      /is not an image of layers \(media type "application\/vnd\.cncf\.helm/,
    ],
    [
      'a layer that is named like an image',
      (fake) => fake.put(`${oci}.layer.v1.tar`, ''),
      'failed-precondition',
      /is not an/,
    ],
    [
      'one with another number of layers',
      (fake) => fake.manifest({ layers: 3 }),
      'failed-precondition',
      /3 layers and 2 diff/,
    ],
    [
      'one whose diff IDs are none',
      (fake) => fake.manifest({ config: { rootfs: { diff_ids: ['x', 'y'] } } }),
      'invalid-argument',
      /a diff ID of image image "x" is not a sha256/,
    ],
    [
      'no JSON',
      (fake) => fake.put(`${oci}.manifest.v1+json`, '{'),
      'failed-precondition',
      /is not what its media type says/,
    ],
    ['a manifest without layers', (fake) => fake.put(`${oci}.manifest.v1+json`, {}), 'failed-precondition', /layers: /],
    [
      'one larger than any',
      (fake) => ({ ...fake.manifest(), size: 17 * 1024 * 1024 }),
      'failed-precondition',
      /more than 16777216/,
    ],
    [
      'one whose manifest is damaged',
      (fake) => {
        const target = fake.manifest();
        fake.damage(target.digest);
        return target;
      },
      'data-loss',
      /is damaged: its bytes have the digest/,
    ],
    [
      'one whose manifest is not here',
      (fake) => {
        const target = fake.manifest();
        fake.remove(target.digest);
        return target;
      },
      'not-found',
      /no sha256/,
    ],
  ])('%s', async (_, make, code, message) => {
    const fake = new Fake();
    fake.target = make(fake);
    await expect(fake.find()).rejects.toMatchObject({ code, message: expect.stringMatching(message) as unknown });
  });

  it('indexes that never come to an end', async () => {
    const fake = new Fake();
    fake.target = fake.manifest();
    for (let depth = 0; depth < 5; depth += 1) fake.target = fake.put(index, { manifests: [fake.target] });
    await expect(fake.find()).rejects.toMatchObject({ code: 'failed-precondition' });
  });
});
