import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { format } from 'prettier';

import { packageRoot } from '../../src/package.js';
import { renderChart } from './chart.js';
import { renderMarkdown, type Report } from './report.js';

const docsFolder = join(packageRoot(), 'docs', 'benchmarks');

/**
 * Writes `<name>.json`, `<name>.md` and `<name>.svg` into docs/benchmarks.
 *
 * @returns the paths written.
 */
export async function writeDocs(report: Report, name: string): Promise<readonly string[]> {
  const files: readonly (readonly [string, string])[] = [
    [join(docsFolder, `${name}.json`), await renderJson(report)],
    [join(docsFolder, `${name}.md`), await format(renderMarkdown(report, `${name}.svg`), { parser: 'markdown' })],
    [join(docsFolder, `${name}.svg`), renderChart(report)],
  ];
  for (const [path, text] of files) await writeText(path, text);
  return files.map(([path]) => path);
}

export async function writeJson(report: Report, path: string): Promise<void> {
  await writeText(path, await renderJson(report));
}

/** Formatted as the format check wants every file of the repository. */
function renderJson(report: Report): Promise<string> {
  return format(JSON.stringify(report, null, 2), { parser: 'json', printWidth: 120 });
}

async function writeText(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}
