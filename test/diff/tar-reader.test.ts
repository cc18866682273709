import { describe, expect, it } from 'vitest';
import { isCode } from '../../src/errors.js';
import { canonical } from './canonical.js';
import { brokenTars, soundTars } from './layers.js';

describe('a tar on its way to mkfs.erofs', () => {
  it.each(Object.entries(soundTars))('passes with %s, however it is cut', (_title, bytes) => {
    const whole = canonical(bytes);
    for (const partBytes of [1, 511, 513, 4096]) expect(canonical(bytes, partBytes)).toEqual(whole);
  });

  it.each(Object.entries(brokenTars))('is refused with %s, however it is cut', (_title, [bytes, message]) => {
    const refusal = expect.toSatisfy(
      (error) => isCode(error, 'invalid-argument') && message.test(error.message),
    ) as Error;
    for (const partBytes of [bytes.length, 1, 511, 513]) expect(() => canonical(bytes, partBytes)).toThrow(refusal);
  });
});
