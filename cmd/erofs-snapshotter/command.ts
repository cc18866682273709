import { Command, Option } from 'commander';
import {
  defaultConfigFile,
  flagOf,
  settings,
  type ConfigSources,
  type Setting,
  type SettingName,
} from '../../src/config/index.js';
import { packageVersion } from '../../src/package.js';

type Given = Pick<ConfigSources, 'flags' | 'configFile'>;

/** The command line: flags from the table of settings, and what is done with those that were given. */
export function createCommand(action: (given: Given) => Promise<void>): Command {
  const command = new Command('erofs-snapshotter')
    .description(
      'Serves containerd as a snapshotter and differ whose snapshots are disks that a virtual machine boots.',
    )
    .version(packageVersion(), '--version', 'print the version and exit')
    .helpOption('-h, --help', 'print this help and exit')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'erofs-snapshotter: ')) })
    .exitOverride((ended) => process.exit(ended.exitCode === 0 ? 0 : 2));

  const options = (Object.keys(settings) as SettingName[]).flatMap((name) => {
    const option = optionOf(settings[name]);
    return option === undefined ? [] : [{ name, option }];
  });
  for (const { option } of options) command.addOption(option);
  command.option('--config <file>', `TOML file with settings (default: ${defaultConfigFile}, when it exists)`);

  return command.action(async (given: Record<string, string | true | undefined>) => {
    const flags = options.flatMap(({ name, option }) => {
      const value = given[option.attributeName()];
      return value === undefined ? [] : [[name, String(value)] as const];
    });
    const configFile = given['config'];
    await action({ flags: Object.fromEntries(flags), ...(typeof configFile === 'string' ? { configFile } : {}) });
  });
}

function optionOf(setting: Setting): Option | undefined {
  const flag = flagOf(setting);
  if (flag === undefined || setting.argument === undefined) return undefined;
  const environment = setting.environment === undefined ? '' : `, environment: ${setting.environment}`;
  return new Option(`${flag} ${setting.argument}`, `${setting.meaning} (default: ${setting.default}${environment})`);
}
