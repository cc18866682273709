import { describe, expect, it } from 'vitest';
import { wallClock } from '../../src/host/index.js';
import { isoOf, nanosecondsOf } from '../../src/timestamps.js';

describe('times keep the full precision of the clock', () => {
  it.each([
    ['2026-01-02T03:04:05.678901234Z', 1_767_323_045_678_901_234n],
    ['1970-01-01T00:00:00.000000001Z', 1n],
    ['1969-12-31T23:59:59.999999999Z', -1n],
    ['1970-01-01T00:00:00.000000000Z', 0n],
  ])('%s', (iso, nanoseconds) => {
    expect(nanosecondsOf(iso)).toBe(nanoseconds);
    expect(isoOf(nanoseconds)).toBe(iso);
  });

  it('and records of earlier releases, with milliseconds or none, are read', () => {
    expect(nanosecondsOf('2026-01-02T03:04:05.678Z')).toBe(1_767_323_045_678_000_000n);
    expect(nanosecondsOf('2026-01-02T03:04:05Z')).toBe(1_767_323_045_000_000_000n);
    expect(() => nanosecondsOf('yesterday')).toThrow(RangeError);
  });

  it('the clock is the one of the machine, never behind it', () => {
    const [before, now, after] = [BigInt(Date.now()), wallClock(), BigInt(Date.now())];
    expect(now).toBeGreaterThanOrEqual(before * 1_000_000n);
    expect(now).toBeLessThan((after + 1n) * 1_000_000n);
  });
});
