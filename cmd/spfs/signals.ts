import { constants } from 'node:os';

/** A signal asked this process to end. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

/** The signal that ended some work, when one did. */
export function ended(error: unknown): NodeJS.Signals | undefined {
  if (error instanceof Interrupted) return error.signal;
  return error instanceof Error && error.cause instanceof Interrupted ? error.cause.signal : undefined;
}

const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs work that the first signal cancels; a second one ends the process at once, and what it had started with it. */
export async function cancellable<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const received = (signal: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(128 + constants.signals[signal]);
    controller.abort(new Interrupted(signal));
  };
  for (const signal of endingSignals) process.on(signal, received);
  try {
    return await work(controller.signal);
  } catch (error) {
    // Whatever a cancelled call says, this is why.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    for (const signal of endingSignals) process.off(signal, received);
  }
}
