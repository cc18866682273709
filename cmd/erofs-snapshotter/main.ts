#!/usr/bin/env -S node --max-semi-space-size=2
// A small young generation keeps an idle daemon 10 MB smaller; what it does in bulk is done outside of V8's heap.
import { loadConfig } from '../../src/config/index.js';
import { LogOutput } from '../../src/host/index.js';
import { createLogger, lostLines } from '../../src/log.js';
import { createCommand } from './command.js';
import { report } from './report.js';

const output = new LogOutput(2, lostLines);
const command = createCommand(async (sources) => {
  const config = await loadConfig({ ...sources, environment: process.env });
  // Loaded here, so that --help and mistakes of usage answer at once.
  const { serve } = await import('./daemon.js');
  await serve(config, createLogger(config.logLevel, output));
});

try {
  await command.parseAsync();
  process.exit(0);
} catch (error) {
  process.exit(report(error, output));
}
