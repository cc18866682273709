import { readFile, writeFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { defaultConfigFile, flagOf, loadConfig, settings, type Setting } from '../../src/config/index.js';
import { formatSize } from '../../src/settings/size.js';
import { writableLayerLimits } from '../../src/ext4/index.js';
import { packageRoot } from '../../src/package.js';

const all: Setting[] = Object.values(settings);

function read(path: string): Promise<string> {
  return readFile(join(packageRoot(), path), 'utf8');
}

/** The cells of the first table below the head that starts with `first`, without backquotes. */
function table(text: string, first: string): string[][] {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => line.replace(/\s+/g, ' ').startsWith(`| ${first} |`)) + 2;
  const rows = lines.slice(start, lines.indexOf('', start));
  return rows.map((row) =>
    row
      .replaceAll('`', '')
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

test("docs/configuration.md's table is the table of settings", async () => {
  const rows = table(await read('docs/configuration.md'), 'flag');
  expect(rows.slice(0, -1)).toEqual(
    all.map((setting) => [
      flagOf(setting) ?? '',
      setting.environment ?? '',
      setting.toml,
      setting.default,
      setting.meaning,
    ]),
  );
  expect(rows.at(-1)?.slice(0, 4)).toEqual(['--config', '', '', `${defaultConfigFile}, when it exists`]);
});

test("docs/configuration.md names the writable layer's limits", async () => {
  const { minimum, maximum } = writableLayerLimits;
  expect(await read('docs/configuration.md')).toContain(
    `A writable layer has ${formatSize(minimum)} to ${formatSize(maximum)}.`,
  );
});

test('the TOML example has every key once, commented, with its default', async () => {
  const example = await read('config/erofs-snapshotter.toml.example');
  const lines = example.split('\n').flatMap((line) => /^# (\w+ = .*)$/.exec(line)?.[1] ?? []);
  expect(lines.map((line) => line.split(' = ')[0])).toEqual(all.map((setting) => setting.toml));

  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const load = async (name: string, text: string) => {
    await writeFile(join(folder, name), text);
    return loadConfig({ flags: {}, environment: {}, configFile: join(folder, name) });
  };
  const defaults = await load('empty.toml', example);
  // These two have defaults that no value spells: no group, and as many as there are CPUs.
  const uncommented = await load('all.toml', lines.join('\n'));
  expect({ ...uncommented, configFile: '', maxConversions: 0 }).toEqual({
    ...defaults,
    configFile: '',
    maxConversions: 0,
    socketGid: 0,
  });
});

test('the unit of systemd starts before containerd, is notified, and does not retry what cannot mend', async () => {
  const unit = (await read('config/erofs-snapshotter.service')).split('\n');
  for (const line of ['Before=containerd.service', 'Type=notify', 'KillMode=mixed', 'RestartPreventExitStatus=2']) {
    expect(unit).toContain(line);
  }
  expect(unit).toContain(`RequiresMountsFor=${settings.root.default}`);
});
