import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesOf, printableName } from '../../../src/spfs/browse/index.js';

const latin1 = (...bytes: number[]) => Buffer.from(bytes).toString('latin1');

describe('a name on one line', () => {
  it.each([
    ['plain', 'plain'],
    ['sp ace', 'sp ace'],
    ['Grüße 日本', 'Grüße 日本'],
    ['new\nline', "$'new\\nline'"],
    ['tab\t', "$'tab\\t'"],
    ["it's\r", "$'it\\'s\\x0d'"],
    ['back\\slash', 'back\\slash'],
    ['\u001b[31mred', "$'\\x1b[31mred'"],
    ['gnp.\u202eexe', "$'gnp.\\xe2\\x80\\xaeexe'"],
    ["$'quoted'", "$'$\\'quoted\\''"],
  ])('%j is %s', (name, shown) => {
    expect(printableName(bytesOf(name))).toBe(shown);
  });

  it('shows bytes that are no text', () => {
    expect(printableName(latin1(0x61, 0xff))).toBe("$'a\\xff'");
    expect(printableName(latin1(0xc3))).toBe("$'\\xc3'");
  });

  it('is one that a shell reads as the same bytes, whenever it is quoted', () => {
    const bytes = fc.array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 30 });
    const names = fc.sample(bytes, 200).map((sample) => latin1(...sample));
    const quoted = names.filter((name) => printableName(name).startsWith("$'"));
    expect(quoted.length).toBeGreaterThan(50);
    const script = `printf '%s\\0' ${quoted.map(printableName).join(' ')}`;
    const read = execFileSync('bash', ['-c', script], { encoding: 'latin1', env: { ...process.env, LC_ALL: 'C' } });
    expect(read.split('\0').slice(0, -1)).toEqual(quoted);
  });

  it('never makes two names look the same', () => {
    const name = fc.string({ minLength: 1, unit: 'binary' }).map((text) => bytesOf(text));
    fc.assert(
      fc.property(name, name, (left, right) => {
        fc.pre(left !== right);
        expect(printableName(left)).not.toBe(printableName(right));
      }),
    );
  });
});
