import { loadConfig } from '../../src/config/index.js';
import { LogOutput } from '../../src/host/index.js';
import { createLogger, lostLines } from '../../src/log.js';
import { createCommand } from './command.js';
import { report } from './report.js';

/** Does what the command line says. @returns the exit code */
export async function run(): Promise<number> {
  const output = new LogOutput(2, lostLines);
  const command = createCommand(async (sources) => {
    const config = await loadConfig({ ...sources, environment: process.env });
    // Loaded here, so that --help and mistakes of usage answer at once.
    const { serve } = await import('./daemon.js');
    await serve(config, createLogger(config.logLevel, output));
  });
  try {
    await command.parseAsync();
    return 0;
  } catch (error) {
    return report(error, output);
  }
}
