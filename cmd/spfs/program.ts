import { Command, type CommanderError } from 'commander';
import { packageVersion } from '../../src/package.js';
import { addBrowse } from './browse.js';
import { addImport } from './import.js';
import { addObjects } from './objects.js';
import { usageStatus } from './report.js';
import { addRuns } from './runs.js';
import { addTags } from './tags.js';

/** What the original spfs has and this version has not. */
const later = [
  ...['commit', 'edit', 'push', 'pull', 'runtime', 'read', 'write', 'search', 'diff', 'clean', 'check'],
  ...['reset', 'render', 'login', 'migrate', 'server', 'archive', 'repo'],
];

const description = `Runs commands in virtual machines that see a stack of layers at /spfs.

An env spec REFS names the stack: tags, digests or the beginnings of digests, and absolute paths of run specs and live layers,
joined by "+"; what comes later lies on top. "-" is the empty environment.`;

/** @param exitWith told the exit code of a command that did not fail. */
export function createProgram(exitWith: (code: number) => void): Command {
  const program = new Command('spfs')
    .description(description)
    .version(packageVersion(), '--version', 'print the version and exit')
    .helpOption('-h, --help', 'print this help and exit')
    .helpCommand('help [command]', 'print the help of a command')
    .configureOutput({ outputError: (text, write) => write(spfsError(text)) })
    .exitOverride(exitAfterUsage)
    .showSuggestionAfterError();
  addRuns(program, exitWith);
  addImport(program);
  addTags(program);
  addObjects(program);
  addBrowse(program);
  return program;
}

/** Help and version end well; everything else that commander ends is a mistake of usage. */
function exitAfterUsage(ended: CommanderError): never {
  process.exit(ended.exitCode === 0 ? 0 : usageStatus);
}

function spfsError(text: string): string {
  const message = text.replace(/^error: /, 'spfs: ');
  const unknown = /unknown command '([^']*)'/.exec(message)?.[1];
  if (unknown === undefined || !later.includes(unknown)) return message;
  return `spfs: ${unknown} is not in this version, which runs what was imported and neither edits nor shares it\nnext: see \`spfs --help\` for what there is\n`;
}
