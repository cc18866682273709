import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { digestMistake, isPartialDigest, parseSpfsDigest, shortForm, toBase32 } from '../../src/spfs/digest.js';
import type { Digest } from '../../src/vocabulary.js';
import { digests } from './grammar/arbitraries.js';

const seed = '6PJDUUENJYFFDKZWRKHDUXK4FGGZ7FHDYMZ7P4CXORUG6TUMDJ7A====';

describe('a digest', () => {
  // sha256 of nothing, "abc" and 64 zero bytes, with coreutils: printf abc | sha256sum | xxd -r -p | base32
  it.each([
    ['', '4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ===='],
    ['abc', 'XJ4BNP4PAHH6UQKBIDPF3LRCEOYAGYNDSYLXVHFUCD7WD4QACWWQ===='],
    ['\0'.repeat(64), '6WS72QWRNIQDAJ4Y55XNGCMXTNBQAPJDEDM7B2HKTAY2SJ2Z7NFQ===='],
  ])('of %j is in base32 what coreutils say', (text, base32) => {
    const digest: Digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
    expect(toBase32(digest)).toBe(base32);
    expect(parseSpfsDigest(base32)).toBe(digest);
    expect(shortForm(digest)).toBe(base32.slice(0, 8));
  });

  it('survives base32 and back, and every beginning of it is a partial digest', () => {
    fc.assert(
      fc.property(digests, fc.integer({ min: 1, max: 51 }), (digest, length) => {
        const base32 = toBase32(digest);
        expect(base32).toMatch(/^[A-Z2-7]{52}={4}$/);
        expect(parseSpfsDigest(base32)).toBe(digest);
        expect(parseSpfsDigest(base32.slice(0, 52))).toBe(digest);
        expect(parseSpfsDigest(digest)).toBe(digest);
        expect(isPartialDigest(base32.slice(0, length))).toBe(true);
        expect(isPartialDigest(base32)).toBe(false);
        expect(digestMistake(base32)).toBeUndefined();
      }),
    );
  });

  it('has one spelling in base32: any text that is read is what would be printed', () => {
    const base32Like = fc.stringMatching(/^[A-Z2-7]{51}[A-Z2-7]={4}$/);
    fc.assert(
      fc.property(base32Like, (text) => {
        const digest = parseSpfsDigest(text);
        expect(digest === undefined || toBase32(digest) === text).toBe(true);
        expect(digest === undefined).toBe(!/[AQ]={4}$/.test(text));
      }),
    );
  });

  it.each([
    '',
    'x',
    seed.toLowerCase(),
    `${seed.slice(0, 52)}=`,
    `${seed}=`,
    ` ${seed}`,
    `${seed}\n`,
    'sha256:',
    'sha512:00',
  ])('is not %j', (text) => {
    expect(parseSpfsDigest(text)).toBeUndefined();
  });
});

describe('a partial digest', () => {
  it.each(['A', '7', '6PJDUUEN', seed.slice(0, 51), '6PJDUUEN====', 'A======'])('is %j', (text) => {
    expect(isPartialDigest(text)).toBe(true);
    expect(digestMistake(text)).toBeUndefined();
  });

  it.each(['', '====', 'a', '6pjduuen', 'A1', '8', 'A-B', 'A B', 'A=B', seed, seed.slice(0, 52), 'A=======', 'A\n'])(
    'is not %j',
    (text) => {
      expect(isPartialDigest(text)).toBe(false);
    },
  );
});

describe('a digest that is spelt wrongly', () => {
  it('is told apart from every name of a tag that a user would choose', () => {
    for (const tag of ['base', 'BASE', 'shows/base-platform', 'toolchain:1.2', 'a'.repeat(51), 'A'.repeat(53), '']) {
      expect(digestMistake(tag)).toBeUndefined();
    }
  });

  it('gets the right spelling, when that is certain', () => {
    const right = `write ${seed}`;
    for (const wrong of [seed.toLowerCase(), seed.slice(0, -1), seed.slice(0, 52).toLowerCase(), `${seed}==`]) {
      expect(digestMistake(wrong)?.next).toBe(right);
    }
  });
});
