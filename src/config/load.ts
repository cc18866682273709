import { CodedError } from '../errors.js';
import { loadSettings, nearestKey, readToml, type Given, type ValuesOf } from '../settings/index.js';
import { defaultConfigFile, flagOf, settings, type Setting, type SettingName } from './settings.js';

/** The daemon's whole configuration, validated and frozen. */
export interface Config extends Omit<ValuesOf<typeof settings>, 'socketGid'> {
  /** The group that may connect besides root, when there is one. */
  readonly socketGid?: number;
  /** The file that was read, when one was. */
  readonly configFile?: string;
}

export interface ConfigSources extends Pick<Given<SettingName>, 'flags' | 'environment'> {
  /** `--config`: a file that must exist. */
  readonly configFile?: string;
  /** Another place for the file that is read when `configFile` is not given; for tests. */
  readonly defaultConfigFile?: string;
}

/**
 * Each setting from the first of: its flag, its environment variable (an empty one counts as none), the TOML file, its default.
 *
 * @throws CodedError `invalid-argument` naming the source, the value and what is wrong with it.
 */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const { flags, environment, configFile } = sources;
  const path = configFile ?? sources.defaultConfigFile ?? defaultConfigFile;
  const table = await readToml(path, { optional: configFile === undefined });
  const values = new Map(Object.entries(table ?? {}));
  refuseUnknown(path, [...values.keys()]);
  const config = loadSettings<SettingName, Setting>(settings, placesOf, {
    flags,
    environment,
    files: [{ path, values }],
  });
  return Object.freeze({ ...config, ...(table === undefined ? {} : { configFile: path }) } as Config);
}

function placesOf(setting: Setting) {
  const { toml, environment } = setting;
  const names = [{ variables: environment === undefined ? [] : [environment], keys: [toml] }];
  return { name: toml, flag: flagOf(setting), names };
}

/** The file is this program's alone: a key that is not known is a slip of the pen. */
function refuseUnknown(path: string, keys: readonly string[]): void {
  const known = Object.values<Setting>(settings).map(({ toml }) => toml);
  const unknown = keys.find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const nearest = nearestKey(unknown, known);
  throw new CodedError('invalid-argument', `file ${path} key ${unknown}: there is no such setting`, {
    facts: { path, key: unknown, nearest },
    next: nearest === undefined ? `the settings are ${known.join(', ')}` : `the nearest one is ${nearest}`,
  });
}
