import type { Guest } from '../../src/vm/index.js';
import { Interrupted } from './signals.js';

const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;
/** A second Ctrl-C within this time ends the guest. */
const twiceMs = 2_000;
/** How long a command may take to end itself when it was told to. */
const graceMs = 10_000;

/**
 * Hands signals to the command, once it runs; before, they end the run. A second SIGINT ends the guest, and so does SIGTERM or
 * SIGHUP when the command does not end in time.
 *
 * @returns what gives the signals back.
 */
export function forwardSignals(guest: Guest, stop: AbortController): () => void {
  let interruptedAt = -Infinity;
  let grace: NodeJS.Timeout | undefined;
  const received = (signal: NodeJS.Signals) => {
    guest.kill(signal);
    if (signal === 'SIGINT') {
      const now = performance.now();
      if (now - interruptedAt < twiceMs) stop.abort(new Interrupted(signal));
      interruptedAt = now;
    } else if (signal === 'SIGTERM' || signal === 'SIGHUP') {
      grace ??= setTimeout(() => stop.abort(new Interrupted(signal)), graceMs);
    }
  };
  const inherited = new Map<NodeJS.Signals, ((signal: NodeJS.Signals) => void)[]>();
  let over = false;
  guest.started.then(
    () => {
      if (over) return;
      for (const signal of forwarded) {
        inherited.set(signal, process.listeners(signal));
        process.removeAllListeners(signal).on(signal, received);
      }
    },
    () => undefined,
  );
  return () => {
    over = true;
    clearTimeout(grace);
    for (const [signal, listeners] of inherited) {
      process.off(signal, received);
      for (const listener of listeners) process.on(signal, listener);
    }
  };
}
