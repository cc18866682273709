import { describe, inject, it } from 'vitest';
import type { Capability } from './capabilities.js';

/**
 * Opens a suite that needs more of the machine than Node: `requires('root', 'loop')('what is proven', () => …)`.
 *
 * Where something is missing the suite is counted as skipped, with the reason in its title; with CI=true it fails.
 */
export function requires(...needed: readonly Capability[]): (title: string, body: () => void) => void {
  const findings = inject('findings');
  const missing = needed.filter((name) => !findings[name].present);
  if (missing.length === 0) return (title, body) => void describe(title, body);
  const reason = missing.map((name) => `${name}: ${findings[name].detail}`).join('; ');
  if (process.env['CI'] === 'true') {
    return (title) =>
      void describe(title, () => {
        it('has what it needs of the machine', () => {
          throw new Error(`missing here, and a CI machine must offer it: ${reason}`);
        });
      });
  }
  console.log(`skipped for want of ${reason}`);
  return (title, body) => void describe.skip(`${title} (needs ${reason})`, body);
}
