import type { Command } from 'commander';
import { printableName, type Listing } from '../../src/spfs/index.js';
import { bytesOfArgument } from './arguments.js';
import { addCommand } from './command.js';
import { printJson, printLines } from './output.js';
import { withSession } from './session.js';
import { cancellable } from './signals.js';

interface ListOptions {
  readonly long?: true;
  readonly json?: true;
}

export function addBrowse(program: Command): void {
  addList(program);
  addCat(program);
}

const pathRule = 'Paths are those of a run: "bin", "/bin" and "/spfs/bin" are the same.';

function addList(program: Command): void {
  const command = addCommand(
    program,
    {
      usage: 'ls <refs> [path]',
      description: `Lists a directory of a stack, without mounting it. ${pathRule}`,
      examples: ['spfs ls show/platform bin', 'spfs ls --long show/platform+show/tools /spfs/lib'],
      json: true,
    },
    (each) => each.option('-l, --long', 'mode, owner, group, size, time and name'),
  );
  command.action(async (refs: string, path: string | undefined, given: ListOptions) => {
    await cancellable((signal) =>
      withSession(command, async ({ companion }) => {
        const entries = await companion.browse(refs, signal, (browser) => browser.list(byteString(path ?? '/')));
        if (given.json) await printJson(entries.map(jsonOf));
        else if (given.long) await printLines(longLines(entries));
        else await printLines(entries.map(({ name }) => printableName(name)));
      }),
    );
  });
}

function addCat(program: Command): void {
  const command = addCommand(program, {
    usage: 'cat <refs> <path...>',
    description: `Prints files of a stack, without mounting it. ${pathRule}`,
    examples: ['spfs cat show/platform etc/os-release'],
  });
  command.action(async (refs: string, paths: readonly string[]) => {
    await cancellable((signal) =>
      withSession(command, ({ companion }) =>
        companion.browse(refs, signal, (browser) =>
          browser.cat(paths.map(byteString), { output: process.stdout.fd, signal }),
        ),
      ),
    );
  });
}

function byteString(argument: string): string {
  return bytesOfArgument(argument).toString('latin1');
}

const kindLetters: Readonly<Record<Listing['file']['kind'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  'character device': 'c',
  'block device': 'b',
  fifo: 'p',
  socket: 's',
};

function longLines(entries: readonly Listing[]): string[] {
  return alignedRight(entries).map(([cells, name]) => `${cells} ${name}`);
}

/** Numbers are read from their right end. */
function alignedRight(entries: readonly Listing[]): [string, string][] {
  const rows = entries.map(({ name, file, target }) => {
    const { uid, gid, size, device, mtime } = file;
    const shown = target === undefined ? printableName(name) : `${printableName(name)} -> ${printableName(target)}`;
    const numbers = [String(uid), String(gid), device ? `${device.major},${device.minor}` : String(size)];
    return { mode: modeOf(file), numbers, time: timeOf(mtime), shown };
  });
  const widths = [0, 1, 2].map((at) => Math.max(0, ...rows.map(({ numbers }) => numbers[at]?.length ?? 0)));
  return rows.map(({ mode, numbers, time, shown }) => {
    const cells = numbers.map((number, at) => number.padStart(widths[at] ?? 0));
    return [[mode, ...cells, time].join(' '), shown];
  });
}

/** As `ls -l` writes it: set-id and sticky bits in the place of the execute bits. */
function modeOf({ kind, mode }: Listing['file']): string {
  const special = [
    [0o4000, 0o100, 's', 'S'],
    [0o2000, 0o010, 's', 'S'],
    [0o1000, 0o001, 't', 'T'],
  ] as const;
  const triples = special.map(([bit, execute, both, alone], index) => {
    const bits = mode >> (6 - 3 * index);
    const letter = (mode & bit) !== 0 ? ((mode & execute) !== 0 ? both : alone) : (mode & execute) !== 0 ? 'x' : '-';
    return `${(bits & 4) !== 0 ? 'r' : '-'}${(bits & 2) !== 0 ? 'w' : '-'}${letter}`;
  });
  return kindLetters[kind] + triples.join('');
}

/** Seconds, in UTC; what no calendar has is shown as the number that it is. */
function timeOf(mtime: bigint): string {
  const time = new Date(Number(mtime) * 1000);
  return Number.isNaN(time.getTime()) ? String(mtime) : time.toISOString().replace(/\.\d+Z$/, 'Z');
}

function jsonOf({ name, file, target }: Listing) {
  return {
    ...bytesOrText('name', name),
    kind: file.kind,
    mode: file.mode.toString(8).padStart(4, '0'),
    uid: file.uid,
    gid: file.gid,
    size: file.size,
    mtime: timeOf(file.mtime),
    ...(target === undefined ? {} : bytesOrText('target', target)),
    device: file.device,
  };
}

/** JSON has no bytes: what is no UTF-8 stands beside it in base64. */
function bytesOrText(field: 'name' | 'target', bytes: string): Record<string, string> {
  const buffer = Buffer.from(bytes, 'latin1');
  const text = buffer.toString();
  return Buffer.from(text).equals(buffer)
    ? { [field]: text }
    : { [field]: text, [`${field}Base64`]: buffer.toString('base64') };
}
