import type { Command } from 'commander';
import type { SettingName } from '../../src/spfs/index.js';
import { addSettings, jsonOption } from './options.js';

export interface NewCommand {
  /** Name and arguments, as `log <name>`. */
  readonly usage: string;
  readonly description: string;
  /** Lines of a shell. */
  readonly examples: readonly string[];
  readonly settings?: readonly SettingName[];
  /** Whether what it prints can be JSON. */
  readonly json?: boolean;
}

/** A command that looks like all others: its settings below its options, examples at the end. */
export function addCommand(
  program: Command,
  o: NewCommand,
  more: (command: Command) => Command = (command) => command,
) {
  const command = program
    .command(o.usage)
    .description(o.description)
    .helpOption('-h, --help', 'print this help and exit');
  more(command);
  if (o.json === true) command.addOption(jsonOption);
  addSettings(command, o.settings);
  const title = o.examples.length === 1 ? 'Example' : 'Examples';
  return command.addHelpText('after', `\n${title}:\n${o.examples.map((line) => `  $ ${line}`).join('\n')}`);
}
