import { constants } from 'node:os';
import { describeError, CodedError } from '../../src/errors.js';
import { ended, Interrupted } from './signals.js';

/** Of spfs itself, as container tools have it: a command of a run seldom ends so. */
const failed = 125;
/** What was typed, or is configured, makes no sense. */
export const usageStatus = 2;

/** A command line that commander lets pass, and that makes no sense all the same; or a setting that is not valid. */
export class UsageError extends Error {
  readonly next: string | undefined;

  constructor(message: string, details: { readonly next?: string; readonly cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.next = details.next;
  }
}

/** Says on standard error why spfs ends, and what to do; returns the exit code. */
export function report(error: unknown): number {
  const interrupted = ended(error);
  if (interrupted !== undefined) return 128 + constants.signals[interrupted];
  const usage = error instanceof UsageError;
  const next = error instanceof CodedError || usage ? error.next : undefined;
  const message = error instanceof CodedError ? error.message : describeError(error);
  const isBug = !(usage || error instanceof CodedError || error instanceof Interrupted);
  const text = isBug && error instanceof Error ? `a bug: ${error.stack ?? message}` : message;
  process.stderr.write(`spfs: ${text}\n${next === undefined ? '' : `next: ${next}\n`}`);
  return usage ? usageStatus : failed;
}
