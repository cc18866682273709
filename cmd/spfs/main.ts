#!/usr/bin/env node
import { leaveFailuresToWriters, readerIsGone } from './output.js';
import { createProgram } from './program.js';
import { report } from './report.js';

leaveFailuresToWriters();
const status = { code: 0 };
try {
  await createProgram((code) => (status.code = code)).parseAsync();
} catch (error) {
  // Who stopped reading has what they wanted.
  if (!readerIsGone(error)) status.code = report(error);
}
process.exit(status.code);
