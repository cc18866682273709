import { describe, expect, it } from 'vitest';
import { fromInt64, toInt64, toTimestamp } from '../../src/protocol/index.js';

describe('64-bit integers', () => {
  it('are exact up to 2^53 - 1, and refused beyond', () => {
    expect(fromInt64('9007199254740991', 'size')).toBe(Number.MAX_SAFE_INTEGER);
    expect(fromInt64('-1', 'size')).toBe(-1);
    expect(() => fromInt64('9007199254740993', 'the size')).toThrow('the size is 9007199254740993');
  });

  it('are written from whole numbers alone', () => {
    expect(toInt64(Number.MAX_SAFE_INTEGER, 'size')).toBe('9007199254740991');
    for (const wrong of [0.5, Number.NaN, Infinity, 2 ** 53]) expect(() => toInt64(wrong, 'size')).toThrow('size is');
  });
});

describe('times', () => {
  it.each([
    [0n, '0', 0],
    [1n, '0', 1],
    [-1n, '-1', 999_999_999],
    [-1_000_000_000n, '-1', 0],
    [1_700_000_000_999_000_001n, '1700000000', 999_000_001],
  ])('%i ns is %s s and %i ns', (nanoseconds, seconds, nanos) => {
    expect(toTimestamp(nanoseconds)).toEqual({ seconds, nanos });
  });
});
