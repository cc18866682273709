import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { toBase32, type ImportSource } from '../../src/spfs/index.js';
import { addCommand } from './command.js';
import { collected } from './options.js';
import { columns, printJson, printLines } from './output.js';
import { ProgressLine } from './progress.js';
import { withSession } from './session.js';
import { cancellable } from './signals.js';

type From = ImportSource['from'];

interface Given {
  readonly tag: readonly string[];
  readonly layer?: true;
  readonly from?: From;
  readonly json?: true;
}

export function addImport(program: Command): void {
  const command = addCommand(
    program,
    {
      usage: 'import <source>',
      description: `Makes an image, a tar or a directory a layer or a platform with a tag.

<source> is a path when it begins with "/", "./" or "../", and otherwise the name of an image that containerd has. An image
becomes a platform of its layers; a tar (plain, gzip, zstd) or a directory becomes one layer.`,
      examples: [
        'spfs import docker.io/library/debian:13 --tag base/debian',
        'spfs import ./build --tag show/tools --tag show/tools-2026',
      ],
      settings: ['imageNamespace'],
      json: true,
    },
    (each) =>
      each
        .addOption(
          new Option('-t, --tag <name>', 'a tag for it; can be given several times')
            .argParser(collected)
            .makeOptionMandatory(),
        )
        .option('--layer', 'import an image of one layer as that layer, not as a platform')
        .addOption(new Option('--from <kind>', 'what <source> is').choices(['image', 'tar', 'directory'])),
  );
  command.action(async (source: string, given: Given) => {
    await cancellable((signal) =>
      withSession(command, async ({ companion }) => {
        const line = new ProgressLine(`importing ${source}`);
        const { object, layers } = await companion
          .import({ source: await sourceOf(source, given), tags: given.tag, onProgress: line.update, signal })
          .finally(line.end);
        const stack = object.kind === 'platform' ? [...object.layers].reverse() : [object.digest];
        const digest = toBase32(object.digest);
        if (given.json) {
          await printJson({
            kind: object.kind,
            digest,
            origin: object.origin,
            tags: given.tag,
            stack: stack.map(toBase32),
          });
          return;
        }
        const rows = [
          ['digest', digest],
          ['kind', object.kind],
          ['layers', String(object.kind === 'platform' ? stack.length : layers.length)],
          ...given.tag.map((name) => ['tag', name]),
        ];
        await printLines(columns(rows));
      }),
    );
  });
}

async function sourceOf(source: string, given: Given): Promise<ImportSource> {
  const from = given.from ?? (/^\.{0,2}(\/|$)/.test(source) && source !== '' ? await kindOf(source) : 'image');
  if (from === 'image') return { from, name: source, as: given.layer ? 'layer' : 'platform' };
  // The origin is shown later, to commands that run in other folders.
  return { from, path: resolve(source) };
}

/** What is not there is left to the import to complain about. */
async function kindOf(path: string): Promise<'tar' | 'directory'> {
  return await stat(path).then(
    (found) => (found.isDirectory() ? 'directory' : 'tar'),
    () => 'tar',
  );
}
