import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/crc32c.js';
import { layerUuid } from '../../src/erofs/index.js';
import { mergedUuid } from '../../src/erofs/uuid.js';
import { digestOf, inOrder } from './images.js';

describe('the UUID of an image', () => {
  it("is, for a layer, the one of containerd's own EROFS differ: version 5, URL namespace, erofs:blobs/<digest>", () => {
    // Computed with Python's uuid.uuid5(uuid.NAMESPACE_URL, 'erofs:blobs/sha256:' + '0' * 64).
    expect(layerUuid(`sha256:${'0'.repeat(64)}`)).toBe('c10bde68-dd4e-5792-ba63-78c7b75c15bf');
  });

  it('is, for a merged image, decided by its layers and their order', () => {
    const [a, b] = [layerUuid(digestOf('a')), layerUuid(digestOf('b'))];
    expect(mergedUuid(inOrder(a, b))).toBe(mergedUuid(inOrder(a, b)));
    expect(new Set([mergedUuid(inOrder(a, b)), mergedUuid(inOrder(b, a)), mergedUuid(inOrder(a))]).size).toBe(3);
    expect(mergedUuid(inOrder(a, b))).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe('crc32c', () => {
  it('gives the check value of the CRC catalogue, without the last inversion', () => {
    expect((crc32c(Buffer.from('123456789')) ^ 0xffffffff) >>> 0).toBe(0xe3069283);
  });
});
