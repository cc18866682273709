import { describe, expect, it } from 'vitest';
import { compressions, layerFormatOf } from '../../src/diff/media-types.js';
import { isCode } from '../../src/errors.js';

const oci = 'application/vnd.oci.image.layer';
const docker = 'application/vnd.docker.image.rootfs';

describe('media types', () => {
  it.each([
    [`${oci}.v1.tar`, 'none'],
    [`${oci}.v1.tar+gzip`, 'gzip'],
    [`${oci}.v1.tar+zstd`, 'zstd'],
    [`${oci}.nondistributable.v1.tar`, 'none'],
    [`${oci}.nondistributable.v1.tar+gzip`, 'gzip'],
    [`${oci}.nondistributable.v1.tar+zstd`, 'zstd'],
    [`${docker}.diff.tar`, 'none'],
    [`${docker}.diff.tar.gzip`, 'gzip'],
    [`${docker}.diff.tar.zstd`, 'zstd'],
    [`${docker}.foreign.diff.tar`, 'none'],
    [`${docker}.foreign.diff.tar.gzip`, 'gzip'],
    [`${docker}.foreign.diff.tar.zstd`, 'zstd'],
  ])('%s is %s', (mediaType, compression) => {
    expect(layerFormatOf(mediaType)).toBe(compression);
    expect([...compressions.keys()]).toContain(mediaType);
  });

  it.each(['application/vnd.erofs.layer.v1', 'application/vnd.oci.image.layer.v1.erofs'])(
    '%s is an EROFS image',
    (mediaType) => {
      expect(layerFormatOf(mediaType)).toBe('erofs');
    },
  );

  it.each([
    '',
    'application/octet-stream',
    `${oci}.v1.tar+gzip+encrypted`,
    `${oci}.v1.tar+br`,
    `${oci}.v1.tar.gzip`,
    `${docker}.diff.tar+gzip`,
    `${docker}.diff.tar.gzip+encrypted`,
    'application/vnd.erofs.layer.v1+zstd',
    `${oci}.v1.erofs+gzip`,
    `${oci}.v1.erofs.sig`,
    'application/vnd.foo.erofs',
    'application/vnd.foo.layer.v1+x.erofs',
    'x+y.erofs',
    '.erofs',
    'application/vnd.oci.image.config.v1+json',
    'constructor',
  ])('%j is left to the next differ', (mediaType) => {
    expect(() => layerFormatOf(mediaType)).toThrow(expect.toSatisfy((error) => isCode(error, 'not-mine')));
  });
});
