/** Instants, as nanoseconds since the epoch and as ISO 8601 text in UTC with all nine digits. */

const perSecond = 1_000_000_000n;

/** As `2026-01-02T03:04:05.678901234Z`; the years 0 to 9999. */
export function isoOf(nanoseconds: bigint): string {
  const fraction = ((nanoseconds % perSecond) + perSecond) % perSecond;
  const seconds = (nanoseconds - fraction) / perSecond;
  const whole = new Date(Number(seconds) * 1000).toISOString();
  return `${whole.slice(0, -'.000Z'.length)}.${String(fraction).padStart(9, '0')}Z`;
}

/** The reverse, of any number of digits up to nine, as records of earlier releases have three. @throws RangeError */
export function nanosecondsOf(iso: string): bigint {
  const parts = /^(.*?)(?:\.(\d{1,9})\d*)?Z$/.exec(iso);
  const milliseconds = Date.parse(`${parts?.[1] ?? ''}Z`);
  if (!parts || Number.isNaN(milliseconds)) throw new RangeError(`${iso} is no time`);
  return BigInt(milliseconds) * 1_000_000n + BigInt((parts[2] ?? '').padEnd(9, '0'));
}
