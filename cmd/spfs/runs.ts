import { Option, type Command } from 'commander';
import { CodedError } from '../../src/errors.js';
import { withScope } from '../../src/scope.js';
import { addCommand } from './command.js';
import { collected } from './options.js';
import { printPlan } from './plan.js';
import { UsageError } from './report.js';
import { runGuest, type RunRequest } from './run-guest.js';
import { prepareRun, type PrintWhat } from './run-prepare.js';
import { withSession } from './session.js';
import { cancellable } from './signals.js';

interface Given {
  readonly root?: string;
  readonly print?: PrintWhat;
  readonly json?: true;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly [later: string]: unknown;
}

/** Flags of the original for what this version does not do. */
const laterFlags = [
  new Option('-e, --edit'),
  new Option('--keep-runtime'),
  new Option('--rerun <name>'),
  new Option('--annotation <data>'),
];

const settings = [
  ...(['memory', 'cpus', 'accelerator', 'kernel', 'tmpfsSize'] as const),
  ...(['runtimeName', 'imageNamespace'] as const),
];

const shell = ['/bin/sh'];

/** @param exitWith told the exit code of the command that ran. */
export function addRuns(program: Command, exitWith: (code: number) => void): void {
  const run = addCommand(
    program,
    {
      usage: 'run <refs> [command...]',
      description: `Runs a command in a virtual machine that sees a stack at /spfs, read-only. Its input, output and exit code are those of
spfs; 125 means that spfs itself failed. Without a command: a shell, when this is a terminal.`,
      examples: [
        'spfs run show/platform+show/tools -- ls /spfs',
        'spfs run --root docker.io/library/debian:13 /projects/show/runspec.spfs.yaml -- make -C /spfs/src',
        'spfs run show/platform --print mounts --json',
      ],
      settings,
    },
    addRunOptions,
  );
  run.action(async (refs: string, command: readonly string[], given: Given) => {
    const isInteractive = process.stdin.isTTY || given.print !== undefined;
    if (command.length === 0 && !isInteractive) {
      throw new UsageError('there is no command to run: write it after --, as in `spfs run REFS -- ls /spfs`');
    }
    exitWith(await start(run, refs, command.length === 0 ? shell : command, given));
  });
  const interactive = addCommand(
    program,
    {
      usage: 'shell <refs>',
      description: 'Starts a shell in a virtual machine that sees a stack at /spfs, read-only.',
      examples: ['spfs shell show/platform', 'spfs shell -'],
      settings,
    },
    addRunOptions,
  );
  interactive.action(async (refs: string, given: Given) => exitWith(await start(interactive, refs, shell, given)));
}

function addRunOptions(command: Command): Command {
  command
    .option('--root <image>', "boot this image of containerd's as the root, instead of a minimal one")
    .addOption(
      new Option('--env <name=value>', 'a variable of the command; can be given several times').argParser(collected),
    )
    .option('--cwd <folder>', 'where the command starts (default: /)')
    .addOption(
      new Option('--print <what>', 'show what would be used, and run nothing').choices(['chain', 'mounts', 'qemu']),
    )
    .addOption(new Option('--json', 'with --print: as JSON'));
  for (const option of laterFlags) command.addOption(option.hideHelp());
  return command;
}

function start(command: Command, refs: string, argv: readonly string[], given: Given): Promise<number> {
  refuseLater(given);
  return cancellable((signal) =>
    withSession(
      command,
      (session) =>
        withScope(session.log, async (scope) => {
          const request: RunRequest = { argv, env: variables(given.env ?? []), cwd: given.cwd, signal };
          const prepared = await prepareRun({
            session,
            refs,
            root: given.root,
            cwd: given.cwd,
            print: given.print,
            scope,
            signal,
          });
          if (given.print === undefined) return runGuest(session, prepared, request);
          await printPlan(session, prepared, request, { what: given.print, json: given.json === true });
          return 0;
        }),
      { runs: true },
    ),
  );
}

function refuseLater(given: Given): void {
  for (const option of laterFlags) {
    if (given[option.attributeName()] === undefined) continue;
    throw new CodedError('failed-precondition', `${option.long} is for a later version: /spfs is read-only in a run`, {
      next: 'leave it out',
    });
  }
}

/** `NAME=value`, or `NAME` for what this process has. */
function variables(given: readonly string[]): Record<string, string> {
  const pairs = given.flatMap((text): [string, string][] => {
    const at = text.indexOf('=');
    if (at === 0) throw new UsageError(`--env ${text} has no name`);
    if (at > 0) return [[text.slice(0, at), text.slice(at + 1)]];
    const value = process.env[text];
    return value === undefined ? [] : [[text, value]];
  });
  return Object.fromEntries(pairs);
}
