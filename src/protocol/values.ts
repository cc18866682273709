import { CodedError } from '../errors.js';
import type { Descriptor } from '../vocabulary.js';
import type { Descriptor__Output as WireDescriptor } from './generated/containerd/types/Descriptor.js';
import type { Timestamp__Output as Timestamp } from './generated/google/protobuf/Timestamp.js';

export type { Timestamp };

/**
 * A 64-bit integer as decimal text. JavaScript numbers are exact only up to 2^53 - 1, so no message carries one; use
 * `fromInt64` and `toInt64`, which refuse what would lose digits.
 */
export type Int64 = string;

/** @throws CodedError `invalid-argument` when `value` is not exact as a JavaScript number; `what` names the field. */
export function fromInt64(value: Int64, what: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new CodedError('invalid-argument', `${what} is ${value}, which is beyond 2^53`);
}

/** @throws CodedError `internal` when `value` is not a whole number or not exact; `what` names the field. */
export function toInt64(value: number, what: string): Int64 {
  if (Number.isSafeInteger(value)) return value.toFixed(0);
  throw new CodedError('internal', `${what} is ${value}, which is not an exact whole number`);
}

/** @param nanoseconds since the epoch */
export function toTimestamp(nanoseconds: bigint): Timestamp {
  const nanos = ((nanoseconds % perSecond) + perSecond) % perSecond;
  return { seconds: String((nanoseconds - nanos) / perSecond), nanos: Number(nanos) };
}

const perSecond = 1_000_000_000n;

/** @throws CodedError `invalid-argument` when the size is beyond 2^53. */
export function fromWireDescriptor(wire: WireDescriptor): Descriptor {
  const { mediaType, digest, annotations } = wire;
  return { mediaType, digest, size: fromInt64(wire.size, 'the size of the descriptor'), annotations };
}

export function toWireDescriptor(descriptor: Descriptor): WireDescriptor {
  const { mediaType, digest, annotations } = descriptor;
  return {
    mediaType,
    digest,
    size: toInt64(descriptor.size, 'the size of a descriptor'),
    annotations: annotations ?? {},
  };
}
