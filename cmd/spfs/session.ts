import type { Command } from 'commander';
import { LogOutput } from '../../src/host/index.js';
import { createLogger, lostLines, type Logger } from '../../src/log.js';
import { withScope } from '../../src/scope.js';
import { Companion, type SpfsConfig } from '../../src/spfs/index.js';
import { configOf } from './options.js';

export interface Session {
  readonly companion: Companion;
  readonly config: SpfsConfig;
  readonly log: Logger;
}

/** Loads the configuration for one command, and ends what it opened. */
export async function withSession<T>(
  command: Command,
  work: (session: Session) => Promise<T>,
  { runs = false }: { readonly runs?: boolean } = {},
): Promise<T> {
  const config = await configOf(command, { runs });
  const log = createLogger(config.logLevel, new LogOutput(2, lostLines));
  for (const unused of config.unused) log.debug({ setting: unused }, 'means something to the original spfs only');
  if (config.unknown.length > 0) {
    log.warn({ keys: config.unknown }, 'spfs.toml has keys that are no settings; they are passed over');
  }
  return withScope(log, async (scope) => {
    const companion = new Companion({ config, log });
    scope.defer('the connection to containerd', () => companion.close());
    return work({ companion, config, log });
  });
}
