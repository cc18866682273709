import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { packageRoot } from '../../../src/package.js';
import { loadSpfsConfig, settings, type Setting } from '../../../src/spfs/config/index.js';
import { configFiles, unusedKeys, unusedSections } from '../../../src/spfs/config/settings.js';

const all: Setting[] = Object.values(settings);

function read(path: string): Promise<string> {
  return readFile(join(packageRoot(), path), 'utf8');
}

test("docs/spfs-configuration.md's table is the table of settings", async () => {
  const lines = (await read('docs/spfs-configuration.md')).split('\n');
  const start = lines.findIndex((line) => /^\| key +\| variable +\|/.test(line)) + 2;
  const rows = lines.slice(start, lines.indexOf('', start)).map((row) =>
    row
      .replaceAll('`', '')
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  expect(rows).toEqual(
    all.map(({ toml, own, environment, flag, default: byDefault, meaning }) => [
      [own?.toml ?? [], toml ?? []].flat().join(', '),
      [own?.environment ?? [], environment].flat().join(', '),
      flag ?? '',
      byDefault,
      meaning,
    ]),
  );
});

test('docs/spfs-configuration.md names the files, and what of the original is passed over', async () => {
  const text = (await read('docs/spfs-configuration.md')).replace(/\s+/g, ' ');
  expect(text).toContain(`\`${configFiles.system}\`, then \`${configFiles.user}\``);
  for (const name of unusedSections) expect(text).toContain(`\`[${name}]\``);
  for (const name of unusedKeys) expect(text).toContain(`\`${name}\``);
});

test('config/spfs.toml is valid as it stands and has every key once, commented, with its default', async () => {
  const example = await read('config/spfs.toml');
  let section = '';
  const keys: string[] = [];
  const defaults: string[] = [];
  for (const line of example.split('\n')) {
    const opened = /^\[(\w+)\]$/.exec(line)?.[1];
    if (opened !== undefined) {
      section = opened;
      defaults.push(line);
    }
    const [, setting, key] = /^# ((\w+) = .*)$/.exec(line) ?? [];
    if (key === undefined) continue;
    keys.push(`${section}.${key}`);
    const { fallback } = all.find(({ toml }) => toml === `${section}.${key}`) ?? {};
    if (fallback !== undefined) defaults.push(setting ?? '');
  }
  expect(keys).toEqual(all.flatMap(({ toml, own }) => [own?.toml ?? [], toml ?? []].flat()));

  const folder = await mkdtemp(join(tmpdir(), 'spfs-config-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const load = async (name: string, text: string) => {
    const configFile = join(folder, name);
    await writeFile(configFile, text);
    return { ...(await loadSpfsConfig({ flags: {}, environment: {}, configFile, runs: false })), configFiles: [] };
  };
  const uncommented = example.replace(/^# (\w+ = .*)$/gm, '$1');
  const asItStands = await load('example.toml', example);
  expect(await load('defaults.toml', defaults.join('\n'))).toEqual(asItStands);
  expect(await load('all.toml', uncommented)).toMatchObject(asItStands);
});
