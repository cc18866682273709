import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { createProgram } from '../../../cmd/spfs/program.js';
import { packageRoot } from '../../../src/package.js';

const guide = readFileSync(join(packageRoot(), 'docs', 'spfs.md'), 'utf8');
const lines = guide.split('\n').flatMap((line) => /^ {4}(spfs .*)$/.exec(line)?.[1] ?? []);

/** The words of the line that commander would complain about. */
function mistakes(line: string): string[] {
  const [, name, ...words] = line.split(' ');
  const command = createProgram(() => undefined).commands.find((each) => each.name() === name);
  if (command === undefined) return [name ?? ''];
  const { operands, unknown } = command.parseOptions(words);
  const most = command.registeredArguments.some((each) => each.variadic)
    ? Infinity
    : command.registeredArguments.length;
  const missing = command.registeredArguments.slice(operands.length).filter((each) => each.required);
  return [...unknown, ...operands.slice(most), ...missing.map((each) => `<${each.name()}>`)];
}

describe('the guide of spfs', () => {
  it('shows commands', () => {
    expect(lines.length).toBeGreaterThan(5);
  });

  it.each(lines)('%s', (line) => {
    expect(mistakes(line)).toEqual([]);
  });

  it.each(['spfs nonsense', 'spfs tags --nonsense', 'spfs info a b', 'spfs log'])('would not pass: %s', (line) => {
    expect(mistakes(line)).not.toEqual([]);
  });
});
