import { capabilities, findCapabilities, type Findings } from './capabilities.js';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    findings: Findings;
  }
}

let findings: Promise<Findings> | undefined;

async function lookAndPrint(): Promise<Findings> {
  const found = await findCapabilities();
  console.log(`what this machine offers (Node.js ${process.versions.node}, ${process.arch}):`);
  for (const name of capabilities) {
    console.log(`  ${found[name].present ? 'yes' : 'no '} ${name.padEnd(14)} ${found[name].detail}`);
  }
  return found;
}

/** Runs once for each ring that needs more than Node; the machine is looked at once. */
export default async function setup(project: TestProject): Promise<void> {
  findings ??= lookAndPrint();
  project.provide('findings', await findings);
}
