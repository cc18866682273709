import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CodedError } from '../../../src/errors.js';
import { toBase32 } from '../../../src/spfs/digest.js';
import { describePlace, parseEnvSpec, type EnvItem } from '../../../src/spfs/grammar/index.js';
import { printEnvSpec } from './print.js';
import { casesOf, makeTree, needed, rewrite, section, type Case } from '../../harness/txtar.js';
import { memoryFiles } from './memory-files.js';
import { rootedFiles } from './rooted-files.js';

/*
 * A case is a file: an env spec (`spec`), the spec files that it names and what they bind, and what comes of it. A relative path
 * is meant from /shots.
 *
 * A right one has `means`; UPDATE_GOLDEN=1 writes those that differ anew, and fails: read the difference, and run again without.
 * A wrong one has `refused`: the code, the place and the key fact, one a line, for that the rest may be put in better words; or,
 * for a few, `refused, in these words`: the code, the whole message and what to do.
 */
const fixtures = fileURLToPath(new URL('fixtures', import.meta.url));
const update = process.env['UPDATE_GOLDEN'] === '1';
const titled = (kind: string) => casesOf(join(fixtures, kind)).map((one) => [one.name, one] as const);

async function parseCase(one: Case): Promise<{ items: readonly EnvItem[]; warnings: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await makeTree(one, folder);
  const files = await rootedFiles(folder);
  const warnings: string[] = [];
  const spec = needed(one, 'spec').replace(/\n$/, '');
  const items = await parseEnvSpec(spec, files, (warning) => warnings.push(warning));
  const again = await parseEnvSpec(printEnvSpec(items), files);
  expect(again.map(shownMeaning), 'what is printed means the same').toEqual(items.map(shownMeaning));
  return { items, warnings };
}

function shownMeaning(item: EnvItem): string {
  switch (item.kind) {
    case 'digest':
      return `digest ${item.digest}\n  ${toBase32(item.digest)}`;
    case 'reference': {
      const tag = item.tag === undefined ? [] : [`tag ${item.tag.name}, version ${item.tag.version}`];
      const partial = item.partial === undefined ? [] : [`partial digest ${item.partial}`];
      return `reference ${item.text}\n  ${[...partial, ...tag].join(', or ')}`;
    }
    case 'live-layer': {
      const binds = item.layer.binds.map(({ source, destination }) => `\n  ${source} at ${destination}`);
      return `live layer ${item.layer.file}${binds.join('')}`;
    }
  }
}

function shown(item: EnvItem): string {
  const place = describePlace(item.source);
  const hint = item.kind === 'reference' && item.hint !== undefined ? `\n  hint: ${item.hint}` : '';
  return `${shownMeaning(item)}${hint}\n  written ${place === '' ? 'in the env spec' : `in ${place}`}: ${item.source.text}\n`;
}

async function refusal(parsing: Promise<unknown>): Promise<CodedError> {
  const error: unknown = await parsing.then(
    () => expect.fail('it was taken'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CodedError)) throw error;
  return error;
}

/** @param expected the code, the place and the key fact, one a line */
function expectRefusal({ code, message, next }: CodedError, expected: string): void {
  const [expectedCode, place = '', fact = ''] = expected.split('\n');
  expect(code).toBe(expectedCode);
  expect(message.slice(0, place.length + 2), message).toBe(`${place}: `);
  expect(message.slice(place.length)).toContain(fact);
  expect(next).toMatch(/^\S.+/);
}

describe('a right env spec', () => {
  it.each(titled('good'))('%s', async (_, one) => {
    const { items, warnings } = await parseCase(one);
    const meant = items.length === 0 ? 'the empty environment\n' : items.map(shown).join('');
    const text = meant + warnings.map((warning) => `warning: ${warning}\n`).join('');
    if (update && text !== needed(one, 'means')) {
      await rewrite(one, 'means', text);
      expect.fail(`${one.path} is written anew: read the difference`);
    }
    expect(text).toBe(needed(one, 'means'));
  });
});

describe('a wrong env spec', () => {
  it.each(titled('bad'))('%s', async (_, one) => {
    const error = await refusal(parseCase(one));
    const words = section(one, 'refused, in these words');
    if (words !== undefined) expect(`${error.code}\n${error.message}\n${error.next}\n`).toBe(words);
    else expectRefusal(error, needed(one, 'refused'));
  });
});

describe('an env spec that is too long for a file of its own', () => {
  const run = (...items: readonly string[]) =>
    `api: spfs/v0/runspec\nlayers:\n${items.map((item) => `  - ${item}\n`).join('')}`;
  /** Run specs, each of which names a tag and the next one. */
  const nested = (depth: number) =>
    Object.fromEntries(
      Array.from({ length: depth }, (_, at) => {
        const next = at + 1 < depth ? [`tag${at + 1}`, `/${at + 2}.spfs.yaml`] : ['deepest'];
        return [`/${at + 1}.spfs.yaml`, run(...next)];
      }),
    );
  const binds = (count: number) =>
    `api: v0/layer\ncontents:\n${Array.from({ length: count }, (_, at) => `  - {bind: ., dest: d${at}}\n`).join('')}`;
  const hundred = Array<string>(100).fill('t').join('+');

  it('may nest run specs 32 deep', async () => {
    const items = await parseEnvSpec('/1.spfs.yaml', memoryFiles(nested(32)));
    expect(items.map(({ source }) => source.text)).toEqual([
      ...Array.from({ length: 31 }, (_, at) => `tag${at + 1}`),
      'deepest',
    ]);
    expect(describePlace(items.at(-1)?.source ?? {})).toBe('/32.spfs.yaml:3: layers[0]');
  });

  const tags = 'tag+'.repeat(100);
  it.each<[string, string, Readonly<Record<string, string>>, string, string]>([
    [
      'run specs nested 33 deep',
      '/1.spfs.yaml',
      nested(33),
      '/32.spfs.yaml:4: layers[1]',
      '/3.spfs.yaml:4 → … 27 more … → /31',
    ],
    [
      'too many items',
      '/run.spfs.yaml',
      { '/run.spfs.yaml': run(...Array<string>(41).fill(hundred)) },
      '/run.spfs.yaml:43: layers[40]',
      'at most 4096 items',
    ],
    [
      'too many binds',
      '/layer.spfs.yaml',
      { '/layer.spfs.yaml': binds(1025) },
      '/layer.spfs.yaml:3: contents',
      'this one has 1025',
    ],
    [
      'deeply nested YAML',
      '/run.spfs.yaml',
      { '/run.spfs.yaml': `api: spfs/v0/runspec\nlayers: ${'['.repeat(1500)}${']'.repeat(1500)}\n` },
      '/run.spfs.yaml:2:',
      'nested too deeply',
    ],
    ['a version far too large', `base+x~${'9'.repeat(400)}`, {}, 'env spec "base+x~9', 'at most 4294967295'],
    [
      'a long text, of which the place is shown',
      `${tags}b!d+${tags}tag`,
      {},
      `env spec "…${tags.slice(-99)}b!d+${tags.slice(0, 97)}…", character 402`,
      '"!"',
    ],
  ])('is refused: %s', async (_, spec, files, place, fact) => {
    const error = await refusal(parseEnvSpec(spec, memoryFiles(files)));
    expect(error.code).toBe('invalid-argument');
    expect(error.message.slice(0, place.length)).toBe(place);
    expect(error.message.slice(place.length)).toContain(fact);
    expect(error.message.length).toBeLessThan(700);
  });
});
