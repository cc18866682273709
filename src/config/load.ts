import type { z } from 'zod';
import { SnapshotterError } from '../errors.js';
import { readConfigFile, type ConfigFile } from './file.js';
import { defaultConfigFile, flagOf, settings, type Setting, type SettingName } from './settings.js';

type Values = { readonly [Name in Exclude<SettingName, 'socketGid'>]: z.infer<(typeof settings)[Name]['schema']> };

/** The daemon's whole configuration, validated and frozen. */
export interface Config extends Values {
  /** The group that may connect besides root, when there is one. */
  readonly socketGid?: number;
  /** The file that was read, when one was. */
  readonly configFile?: string;
}

export interface ConfigSources {
  /** What flags were given, as text. */
  readonly flags: Readonly<Partial<Record<SettingName, string>>>;
  /** `--config`: a file that must exist. */
  readonly configFile?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Another place for the file that is read when `configFile` is not given; for tests. */
  readonly defaultConfigFile?: string;
}

/**
 * Each setting from the first of: its flag, its environment variable (an empty one counts as none), the TOML file, its default.
 *
 * @throws SnapshotterError `invalid-argument` naming the source, the value and what is wrong with it.
 */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const file = await readConfigFile(
    sources.configFile ?? sources.defaultConfigFile ?? defaultConfigFile,
    Object.values(settings).map((setting) => setting.toml),
    { optional: sources.configFile === undefined },
  );
  const entries = (Object.keys(settings) as SettingName[]).flatMap((name) => {
    const value = valueOf(name, settings[name], sources, file);
    return value === undefined ? [] : [[name, value] as const];
  });
  const config = { ...Object.fromEntries(entries), ...(file === undefined ? {} : { configFile: file.path }) };
  return Object.freeze(config as unknown as Config);
}

function valueOf(name: SettingName, setting: Setting, sources: ConfigSources, file: ConfigFile | undefined): unknown {
  const flag = sources.flags[name];
  if (flag !== undefined) return validated(setting, flag, `flag ${flagOf(setting) ?? setting.toml}`);

  const variable = setting.environment;
  const environment = variable === undefined ? undefined : sources.environment[variable];
  if (variable !== undefined && environment !== undefined && environment !== '') {
    return validated(setting, environment, `environment ${variable}`);
  }

  const key = file?.values[setting.toml];
  if (file !== undefined && key !== undefined) return validated(setting, key, `file ${file.path} key ${setting.toml}`);

  const fallback = setting.fallback();
  return fallback === undefined ? undefined : validated(setting, fallback, `default of ${setting.toml}`);
}

function validated(setting: Setting, value: unknown, source: string): unknown {
  const result = setting.schema.safeParse(value);
  if (result.success) return result.data;
  const why = result.error.issues[0]?.message ?? 'is not valid';
  throw new SnapshotterError('invalid-argument', `${source}: ${shown(value)} ${why}`, { facts: { source } });
}

/** TOML knows no null and no undefined, so there is always something to show. */
function shown(value: unknown): string {
  return JSON.stringify(value).slice(0, 200);
}
