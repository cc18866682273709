import { describe, expect, it } from 'vitest';
import { manifestLine } from '../../src/layers/index.js';
import { digestOfFileName, layerFileName } from '../../src/layers/names.js';

const hex = '0123456789abcdef'.repeat(4);

describe('the file name of a layer', () => {
  it('states the digest of its descriptor and gives it back', () => {
    expect(layerFileName(`sha256:${hex}`)).toBe(`sha256-${hex}.erofs`);
    expect(digestOfFileName(`sha256-${hex}.erofs`)).toBe(`sha256:${hex}`);
  });

  it.each([
    ...[
      'layer.erofs',
      `sha256-${hex}`,
      `sha256:${hex}.erofs`,
      `sha256-${hex.toUpperCase()}.erofs`,
      `sha256-${hex}.erofs\n`,
    ],
    ...[
      `sha256-${hex.slice(1)}.erofs`,
      `sha256-${hex}0.erofs`,
      `../sha256-${hex}.erofs`,
      `.tmp-0-sha256-${hex}.erofs`,
      '',
    ],
  ])('%j states none', (name) => {
    expect(digestOfFileName(name)).toBeUndefined();
  });

  it('stands in layers.manifest the way VM runtimes compare it', () => {
    expect(manifestLine(`sha256-${hex}.erofs`)).toBe(`sha256:${hex}`);
    expect(manifestLine('layer.erofs')).toBe('blob:layer.erofs');
  });
});
