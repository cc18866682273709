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
    [0, '0', 0],
    [1, '0', 1_000_000],
    [-1, '-1', 999_000_000],
    [-1000, '-1', 0],
    [1_700_000_000_999, '1700000000', 999_000_000],
  ])('%i ms is %s s and %i ns', (milliseconds, seconds, nanos) => {
    expect(toTimestamp(new Date(milliseconds))).toEqual({ seconds, nanos });
  });

  it('are refused when they are no times', () => {
    expect(() => toTimestamp(new Date(Number.NaN))).toThrow();
  });
});
