import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SnapshotterError } from '../../../src/errors.js';
import { toBase32 } from '../../../src/spfs/digest.js';
import { describePlace, parseEnvSpec, printEnvSpec, type EnvItem } from '../../../src/spfs/grammar/index.js';
import { rootedFiles } from './rooted-files.js';

/*
 * A case is an env spec, `<name>.spec`, and what comes of it, `<name>.expected`; spec files lie in `<name>.tree/`, which is the
 * root of all paths while the case runs. A relative path is meant from /shots.
 *
 * UPDATE_GOLDEN=1 writes the expectations that differ anew, and fails: read the difference, and run again without.
 */
const fixtures = fileURLToPath(new URL('fixtures', import.meta.url));
const update = process.env['UPDATE_GOLDEN'] === '1';

const entries = (kind: string) => readdirSync(join(fixtures, kind));
const casesOf = (kind: string) =>
  entries(kind).flatMap((name) => (name.endsWith('.spec') ? [name.slice(0, -'.spec'.length)] : []));

async function parseCase(kind: string, name: string): Promise<{ items: readonly EnvItem[]; warnings: string[] }> {
  const spec = await readFile(join(fixtures, kind, `${name}.spec`), 'utf8');
  const tree = entries(kind).includes(`${name}.tree`) ? join(fixtures, kind, `${name}.tree`) : await emptyFolder();
  const files = await rootedFiles(tree);
  const warnings: string[] = [];
  const items = await parseEnvSpec(spec.replace(/\n$/, ''), files, (warning) => warnings.push(warning));
  const again = await parseEnvSpec(printEnvSpec(items), files);
  expect(again.map(shownMeaning), 'what is printed means the same').toEqual(items.map(shownMeaning));
  return { items, warnings };
}

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
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

async function expectGolden(kind: string, name: string, text: string): Promise<void> {
  const path = join(fixtures, kind, `${name}.expected`);
  const golden = await readFile(path, 'utf8').catch(() => undefined);
  if (update && golden !== text) {
    await writeFile(path, text);
    expect.fail(`${path} is written anew: read the difference`);
  }
  expect(text).toBe(golden);
}

describe('a right env spec', () => {
  it.each(casesOf('good'))('%s', async (name) => {
    const { items, warnings } = await parseCase('good', name);
    const text = items.length === 0 ? 'the empty environment\n' : items.map(shown).join('');
    await expectGolden('good', name, text + warnings.map((warning) => `warning: ${warning}\n`).join(''));
  });
});

describe('a wrong env spec', () => {
  it.each(casesOf('bad'))('%s', async (name) => {
    const error: unknown = await parseCase('bad', name).then(
      () => expect.fail('it was taken'),
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof SnapshotterError)) throw error;
    await expectGolden('bad', name, `${error.code}: ${error.message}\nnext: ${error.next ?? 'nothing said'}\n`);
  });
});

it('every file of the fixtures belongs to a case, and there are at least 80', () => {
  const all = ['good', 'bad'].map((kind) => {
    const cases = casesOf(kind);
    const strays = entries(kind).filter((name) => !cases.includes(name.replace(/\.(spec|expected|tree)$/, '')));
    return { cases, strays };
  });
  expect(all.flatMap(({ strays }) => strays)).toEqual([]);
  expect(all.flatMap(({ cases }) => cases).length).toBeGreaterThanOrEqual(80);
});
