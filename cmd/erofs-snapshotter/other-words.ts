import { format } from 'node:util';
import type { Logger } from '../../src/log.js';

/**
 * What Node and libraries say goes through the log: by themselves they would write to standard error, block when its reader has
 * stopped, and end the process when it is gone.
 */
export function logOtherWords(log: Logger): void {
  const say = (...words: unknown[]) => log.warn(format(...words));
  Object.assign(console, { debug: say, error: say, info: say, log: say, trace: say, warn: say });
  process.removeAllListeners('warning');
  process.on('warning', (warning) => log.warn({ err: warning }, 'a warning of Node.js'));
}
