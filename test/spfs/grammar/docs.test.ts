import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeError } from '../../../src/errors.js';
import { packageRoot } from '../../../src/package.js';
import { deepestRunSpec, mostItems } from '../../../src/spfs/grammar/env-spec.js';
import { parseEnvSpec, type EnvItem } from '../../../src/spfs/grammar/index.js';
import { liveLayerApis, mostBinds } from '../../../src/spfs/grammar/live-layer.js';
import { largestSpecFile } from '../../../src/spfs/grammar/spec-file.js';
import { memoryFiles } from './memory-files.js';

const page = await readFile(join(packageRoot(), 'docs/spfs-specs.md'), 'utf8');

const blocks = (language: string) =>
  Array.from(page.matchAll(/^```(\w+)\n(.*?)^```$/gms)).flatMap(([, found, text = '']) =>
    found === language ? [text] : [],
  );

/** The page's YAML, each block under the path that its first line names, and what its live layer binds. */
const specs = Object.fromEntries(blocks('yaml').map((text) => [/^# (\S+)\n/.exec(text)?.[1] ?? 'nameless', text]));
const files = memoryFiles({ ...specs, '/src/game/repo/a': '', '/src/game/data/assets/a': '' });

/** The rows of the table whose first column has this head, without backquotes. */
function table(first: string): [string, string][] {
  const lines = page.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${first} `)) + 2;
  const rows = lines.slice(start, lines.indexOf('', start)).map((row) => row.split('|').slice(1, 3));
  return rows.map(([left = '', right = '']) => [left.trim().replaceAll('`', ''), right.trim().replaceAll('`', '')]);
}

function inWords(items: readonly EnvItem[], text: string): string {
  const [item] = items;
  if (item === undefined || item.source.text !== text || item.kind === 'live-layer') return 'spec file';
  if (item.kind === 'digest') return 'digest';
  const version = item.tag?.version === 0 ? '' : `, version ${item.tag?.version ?? 0}`;
  const tag = item.tag === undefined ? [] : [`tag ${item.tag.name}${version}`];
  return [...(item.partial === undefined ? [] : [`partial digest ${item.partial}`]), ...tag].join(', or else ');
}

test.each(table('item'))('docs/spfs-specs.md: %s is read as %s', async (text, meaning) => {
  expect(inWords(await parseEnvSpec(text, files), text)).toBe(meaning);
});

test.each(table('env spec'))('docs/spfs-specs.md: %s gets its message', async (text, message) => {
  await expect(parseEnvSpec(text, files).catch((error: unknown) => describeError(error))).resolves.toBe(message);
});

test('the tables of docs/spfs-specs.md were found', () => {
  expect([table('item').length, table('env spec').length]).toEqual([8, 5]);
});

test('every command of docs/spfs-specs.md names an env spec that is right', async () => {
  const commands = blocks('sh').flatMap((text) => text.trim().split('\n'));
  expect(commands.length).toBeGreaterThan(4);
  for (const command of commands) {
    const refs = /^spfs run (\S+) -- \S/.exec(command)?.[1] ?? expect.fail(`not understood: ${command}`);
    const items = await parseEnvSpec(refs, files);
    expect(items.length === 0, command).toBe(refs === '-');
  }
});

test('the run spec and the live layer of docs/spfs-specs.md mean what the page says', async () => {
  const items = await parseEnvSpec('/projects/show/runspec.spfs.yaml+/src/game', files);
  expect(items.map((item) => (item.kind === 'live-layer' ? item.layer.binds : item.source.text))).toEqual([
    'shows/base-platform',
    'shows/base-platform~1',
    '6PJDUUENJYFFDKZWRKHDUXK4FGGZ7FHDYMZ7P4CXORUG6TUMDJ7A====',
    'tools/compiler',
    'tools/debugger',
    [
      { source: '/src/game/repo', destination: '/spfs/game' },
      { source: '/src/game/data/assets', destination: '/spfs/game/assets' },
    ],
  ]);
});

test("docs/spfs-specs.md has the code's limits and names", () => {
  const flat = page.replace(/\s+/g, ' ');
  for (const text of [
    `one document of at most ${largestSpecFile} bytes`,
    `Run specs nest at most ${deepestRunSpec} deep`,
    `an environment has at most ${mostItems} items`,
    `There are at most ${mostBinds}.`,
    `\`api\` is ${liveLayerApis
      .map((api) => `\`${api}\``)
      .join(', ')
      .replace(/, ([^,]*)$/, ' or $1')}.`,
  ]) {
    expect(flat).toContain(text);
  }
});
