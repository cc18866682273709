import { constants } from 'node:os';
import type { Logger } from '../../src/log.js';

/** Resolves with the first SIGTERM or SIGINT; a second one ends the process at once, and what it had started with it. */
export function firstSignal(log: Logger): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let stopping = false;
    const received = (signal: NodeJS.Signals) => {
      if (stopping) {
        log.warn({ signal }, 'ending at once');
        process.exit(128 + constants.signals[signal]);
      }
      stopping = true;
      resolve(signal);
    };
    process.on('SIGTERM', received);
    process.on('SIGINT', received);
  });
}

const otherSignals = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;

/**
 * A terminal that closes and tools that ask for a reload must not end the daemon; on SIGUSR1 Node would open its inspector, to
 * everybody on this host.
 */
export function ignoreOtherSignals(): void {
  for (const signal of otherSignals) process.on(signal, () => undefined);
}

export function logOtherSignals(log: Logger): void {
  for (const ignored of otherSignals) process.on(ignored, (signal) => log.info({ signal }, 'ignored a signal'));
}
