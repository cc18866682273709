import { describe, expect, it } from 'vitest';
import { CodedError } from '../../../src/errors.js';
import { deepestRunSpec, mostItems } from '../../../src/spfs/grammar/env-spec.js';
import { parseEnvSpec, parseTagName } from '../../../src/spfs/grammar/index.js';
import { parseTagSpec } from '../../../src/spfs/grammar/tag.js';
import { largestSpecFile } from '../../../src/spfs/grammar/spec-file.js';
import { memoryFiles } from './memory-files.js';

const spec = '/big.spfs.yaml';

function refusal(text: string): Promise<CodedError> {
  return parseEnvSpec(spec, memoryFiles({ [spec]: text })).then(
    () => expect.fail('it was taken'),
    (error: unknown) => {
      if (error instanceof CodedError) return error;
      throw error;
    },
  );
}

/** Repeats a text until it fills a spec file. */
const full = (text: string, before = '') =>
  before + text.repeat(Math.floor((largestSpecFile - before.length) / text.length));

describe('the largest spec file of', () => {
  // Each was seen to take the YAML library many seconds or gigabytes, or to end the process, when nothing stopped it.
  it.each([
    ['flow lists in each other', full('['), 'too much in this file'],
    ['flow maps in each other', full('a: {'), 'too much in this file'],
    ['block lists in each other', full('- '), 'too much in this file'],
    ['brackets without a beginning', full(']'), 'too much in this file'],
    ['quotes', full('"'), 'too much in this file'],
    ['directives', full('%A\n'), 'too much in this file'],
    ['documents', full('---\n'), 'too much in this file'],
    ['anchors', full('&a '), 'too much in this file'],
    ['tags', full('!a '), 'too much in this file'],
    ['aliases', full('  - *a\n', 'a: &a b\nlayers:\n'), 'more than 16 aliases'],
    ['question marks', full('? '), 'too much in this file'],
    ['colons', full(': '), 'too much in this file'],
    ['empty lines', full('\n'), 'too much in this file'],
    ['blanks', full(' '), 'the file is empty'],
    ['items', full('  - x\n', 'api: spfs/v0/runspec\nlayers:\n'), 'too much in this file'],
    ['one item', full('x', 'api: spfs/v0/runspec\nlayers:\n  - /'), 'there is no "/xxx'],
    ['pluses', full('+', 'api: spfs/v0/runspec\nlayers:\n  - x'), 'no item between two'],
    ['escapes', `api: "${'\\u0041'.repeat(170_000)}"`, 'no known api'],
    ['lines after a control character', full('x\n', 'api: \u0000'), 'control character'],
  ])('%s is refused within seconds', async (_, text, what) => {
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(largestSpecFile);
    const started = performance.now();
    const error = await refusal(text);
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(error.message).toContain(what);
    expect(error.message.length).toBeLessThan(700);
  });

  it.each([
    [
      'different fields of a map',
      (n: number) => `{${Array.from({ length: n }, (_, i) => `k${i}: 1`).join(', ')}}`,
      15_000,
    ],
    ['indented maps', (n: number) => Array.from({ length: n }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), 1400],
    [
      'indented lists',
      (n: number) => Array.from({ length: n }, (_, i) => `${' '.repeat(32 * i)}${'- '.repeat(16)}`).join('\n'),
      250,
    ],
  ])('%s is refused within seconds', async (_, make, count) => {
    const text = make(count);
    expect(text.length).toBeLessThanOrEqual(largestSpecFile);
    const started = performance.now();
    await refusal(text);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe('an environment', () => {
  const many = (n: number) => Array.from({ length: n }, (_, i) => `t${i}`).join('+');

  it('has as many items as the limit says', async () => {
    expect(await parseEnvSpec(many(mostItems), memoryFiles())).toHaveLength(mostItems);
    await expect(parseEnvSpec(many(mostItems + 1), memoryFiles())).rejects.toThrow(`at most ${mostItems} items`);
  });

  it('counts its spec files among them, so that empty ones end, too', async () => {
    const files = Object.fromEntries(
      Array.from({ length: mostItems + 1 }, (_, n) => [`/${n}.spfs.yaml`, 'api: spfs/v0/runspec\nlayers: []\n']),
    );
    const all = Object.keys(files).join('+');
    await expect(parseEnvSpec(all, memoryFiles(files))).rejects.toThrow(`at most ${mostItems} items`);
  });

  it('is refused by its length before it is split', async () => {
    await expect(parseEnvSpec('a'.repeat(5_000_000), memoryFiles())).rejects.toThrow(/at most 1048576 characters$/);
  });

  it('nests run specs as deep as the limit says, with a live layer below the last', async () => {
    const files = (depth: number) =>
      memoryFiles({
        '/layer.spfs.yaml': 'api: v0/layer\ncontents: []\n',
        ...Object.fromEntries(
          Array.from({ length: depth }, (_, n) => {
            const next = n + 1 < depth ? `/${n + 1}.spfs.yaml` : '/';
            return [`/${n}.spfs.yaml`, `api: spfs/v0/runspec\nlayers: [${next}]\n`];
          }),
        ),
      });
    expect(await parseEnvSpec('/0.spfs.yaml', files(deepestRunSpec))).toHaveLength(1);
    await expect(parseEnvSpec('/0.spfs.yaml', files(deepestRunSpec + 1))).rejects.toThrow('nested more than 32 deep');
  });
});

describe('the chain of files', () => {
  it('that led to a file met twice is told to programs, too', async () => {
    const files = memoryFiles({
      '/a.spfs.yaml': 'api: spfs/v0/runspec\nlayers:\n  - base\n  - /b.spfs.yaml\n',
      '/b.spfs.yaml': 'api: spfs/v0/runspec\nlayers: [/a.spfs.yaml]\n',
    });
    await expect(parseEnvSpec('/a.spfs.yaml', files)).rejects.toMatchObject({
      code: 'invalid-argument',
      facts: {
        file: '/b.spfs.yaml',
        line: 2,
        field: 'layers[0]',
        chain: ['/a.spfs.yaml:4', '/b.spfs.yaml:2', '/a.spfs.yaml'],
      },
    });
  });
});

describe('the name of a tag', () => {
  it('that is to be written has no version', () => {
    expect(parseTagName('shows/base')).toBe('shows/base');
    expect(() => parseTagName('shows/base~1')).toThrow(
      'tag "shows/base~1", character 11: a version cannot be given here',
    );
    expect(() => parseTagName('~1')).toThrow('the name of the tag is missing');
  });

  it.each(['', '-', '.', 'a b', '/abs', 'x.spfs.yaml', `sha256:${'0'.repeat(64)}`, 'sha256:', 'A'.repeat(52), '+'])(
    'is not %j',
    (text) => {
      expect(() => parseTagName(text)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
      expect(() => parseTagSpec(text)).toThrow(CodedError);
    },
  );
});
