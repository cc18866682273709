import { Option, type Command } from 'commander';
import { isCode } from '../../src/errors.js';
import { loadSpfsConfig, settings, type Setting, type SettingName, type SpfsConfig } from '../../src/spfs/index.js';
import { UsageError } from './report.js';

/** Settings that every command takes as flags. */
const common: readonly SettingName[] = ['storageRoot', 'containerdAddress', 'snapshotter', 'logLevel'];

const configFlag = '--config <file>';

/** Flags for settings, in a group of their own below the command's own. */
export function addSettings(command: Command, names: readonly SettingName[] = []): Command {
  for (const name of [...names, ...common]) {
    const option = optionOf(settings[name]);
    if (option) command.addOption(option);
  }
  const files = 'read this file instead of /etc/spfs.toml and ~/.config/spfs/spfs.toml';
  return command.addOption(new Option(configFlag, files).helpGroup(group));
}

const group = 'Settings:';

function optionOf(setting: Setting): Option | undefined {
  const { flag, meaning, own } = setting;
  if (flag === undefined) return undefined;
  const environment = own === undefined ? setting.environment : `${own.environment}, or ${setting.environment}`;
  const text = `${meaning} (default: ${setting.default}; environment: ${environment})`;
  return new Option(`${flag} <value>`, text).helpGroup(group);
}

/** The configuration of one command, with the flags that it was given. */
export async function configOf(command: Command, o: { runs: boolean }): Promise<SpfsConfig> {
  const given = command.opts<Record<string, unknown>>();
  const flags: Partial<Record<SettingName, string>> = {};
  for (const name of Object.keys(settings) as SettingName[]) {
    const option = optionOf(settings[name]);
    const value = option && given[option.attributeName()];
    if (typeof value === 'string') flags[name] = value;
  }
  const configFile = given[new Option(configFlag).attributeName()];
  const loaded = loadSpfsConfig({
    flags,
    environment: process.env,
    ...(typeof configFile === 'string' ? { configFile } : {}),
    runs: o.runs,
  });
  return loaded.catch((error: unknown) => {
    if (!isCode(error, 'invalid-argument')) throw error;
    throw new UsageError(error.message, { next: error.next, cause: error });
  });
}

/** For an option that can be given several times. */
export function collected(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

export const jsonOption = new Option('--json', 'print JSON');
