import { CodedError } from '../errors.js';
import { quiescedLabel, type Labels } from '../vocabulary.js';
import type { Role } from './serve.js';

/** What Prepare and View are asked for. */
export interface CreateRequest {
  readonly key: string;
  /** Name of a committed snapshot, or empty. */
  readonly parent: string;
  readonly labels: Labels;
  /** The containerd namespace that asks. */
  readonly namespace?: string;
  readonly signal?: AbortSignal;
}

/** Size in bytes of a container's writable layer, given on Prepare; the configured default otherwise. */
export const maxSizeLabel = 'containerd.io/snapshot/max-size';

/** containerd's unpackers name the snapshots they extract layers into so that the key's last path part starts with this. */
const extractPrefix = 'extract-';

/** What Prepare is asked for, which only the key tells. */
export function roleOfPrepare(key: string): Exclude<Role, 'view'> {
  const lastPart = key.slice(key.lastIndexOf('/') + 1);
  return lastPart.startsWith(extractPrefix) ? 'extract' : 'container';
}

/**
 * @returns bytes, or undefined when the label is not given
 * @throws CodedError `invalid-argument` when it is not a whole number within the limits
 */
export function writableBytesOf(labels: Labels, limits: { minimum: number; maximum: number }): number | undefined {
  const text = labels[maxSizeLabel];
  if (text === undefined) return undefined;
  const bytes = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (bytes >= limits.minimum && bytes <= limits.maximum) return bytes;
  throw new CodedError(
    'invalid-argument',
    `label ${maxSizeLabel}=${JSON.stringify(text.slice(0, 64))} is not a usable size`,
    {
      facts: { minimum: limits.minimum, maximum: limits.maximum },
      next: `give a number of bytes from ${limits.minimum} to ${limits.maximum}`,
    },
  );
}

export function isQuiesced(labels: Labels): boolean {
  return labels[quiescedLabel] === 'true';
}

/** What is kept of the labels of a call. By the rule of containerd's own stores a label with an empty value is none. */
export function keptLabels(given: Labels): Labels {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ''));
}

const labelsPath = 'labels';
const oneLabelPath = 'labels.';

/**
 * The labels after an Update with a field mask. No path, or `labels`, replaces them all; `labels.<key>` sets that one, or
 * removes it when the update does not carry it or gives it no value.
 *
 * @throws CodedError `invalid-argument` for any other path: nothing but labels can change
 */
export function updatedLabels(current: Labels, given: Labels, paths: readonly string[]): Labels {
  if (paths.length === 0) return keptLabels(given);
  let labels: Record<string, string> = { ...current };
  for (const path of paths) {
    if (path === labelsPath) {
      labels = { ...given };
    } else if (path.startsWith(oneLabelPath) && path.length > oneLabelPath.length) {
      const key = path.slice(oneLabelPath.length);
      // Own labels alone: `constructor` and the like are inherited by every object.
      if (Object.hasOwn(given, key)) labels[key] = given[key] ?? '';
      else delete labels[key];
    } else {
      throw new CodedError(
        'invalid-argument',
        `field ${JSON.stringify(path.slice(0, 200))} of a snapshot cannot be updated`,
        {
          next: 'name "labels" or "labels.<key>" in the update mask',
        },
      );
    }
  }
  return keptLabels(labels);
}
