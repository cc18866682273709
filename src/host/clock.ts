import { clockGettime } from './libc.js';

const CLOCK_REALTIME = 0;

/**
 * Nanoseconds since the epoch, as every program of this machine reads them: a time that was cut to Node's milliseconds would lie
 * before the call that it is of.
 */
export function wallClock(): bigint {
  return clockGettime(CLOCK_REALTIME);
}
