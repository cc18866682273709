import { homedir } from 'node:os';
import { join } from 'node:path';
import { CodedError } from '../../errors.js';
import { booleanOf, loadSettings, printed, type Given, type ValuesOf } from '../../settings/index.js';
import { readConfigFile, type ConfigFile } from './file.js';
import { configFiles, doubledName, settings, variablesOf, type Setting, type SettingName } from './settings.js';

type Parsed = ValuesOf<typeof settings>;
/** Those that have no default; what is absent is looked up, or made up, by who needs it. */
type Optional = {
  [Name in SettingName]: (typeof settings)[Name]['fallback'] extends undefined ? Name : never;
}[SettingName];

/** The companion's whole configuration, validated and frozen. Sizes are bytes; `tmpfsSize` is as tmpfs' option `size=` has it. */
export interface SpfsConfig extends Omit<Parsed, Optional>, Partial<Pick<Parsed, Optional>> {
  /** The files that were read, the later ones winning. */
  readonly configFiles: readonly string[];
  /** What these files say that means something to the original spfs only, as `<file>: <section or key>`. */
  readonly unused: readonly string[];
  /** What else these files say that is passed over, as `<file>: <section or key>`, and the setting that was perhaps meant. */
  readonly unknown: readonly string[];
}

export interface ConfigSources extends Pick<Given<SettingName>, 'flags' | 'environment'> {
  /** `--config`: read instead of the usual two; it must exist. */
  readonly configFile?: string;
  /** Whether the command starts a run, to which SPFS_KEEP_RUNTIME would apply. */
  readonly runs: boolean;
  /** Another place for the system's file; for tests. */
  readonly systemFile?: string;
}

/**
 * Each setting from the first of: its flag, its environment variables (an empty one counts as none), the user's file, the system's
 * file, its default. Names of ours alone are asked for before names that the original shares.
 *
 * @throws CodedError `invalid-argument` naming the source, the value and what is wrong with it; `failed-precondition` for
 *   what a later release is to do.
 */
export async function loadSpfsConfig(sources: ConfigSources): Promise<SpfsConfig> {
  const home = sources.environment['HOME'] || homedir();
  const files = await readFiles(sources, home);
  const { flags, environment } = sources;
  const given = { flags, environment, files };
  const values = loadSettings<SettingName, Setting>(settings, placesOf, given, (text) => withHome(text, home));
  if (sources.runs) refuseKeptRuntime(sources.environment[keepRuntimeVariable]);
  return Object.freeze({
    ...(values as Omit<SpfsConfig, 'configFiles' | 'unused' | 'unknown'>),
    configFiles: Object.freeze(files.map(({ path }) => path)),
    unused: Object.freeze(files.flatMap(({ path, unused }) => unused.map((what) => `${path}: ${what}`))),
    unknown: Object.freeze(
      files.flatMap(({ path, unknown }) =>
        unknown.map(
          ({ name, nearest }) => `${path}: ${name}${nearest === undefined ? '' : ` (did you mean ${nearest}?)`}`,
        ),
      ),
    ),
  });
}

async function readFiles(sources: ConfigSources, home: string): Promise<readonly ConfigFile[]> {
  const wanted =
    sources.configFile === undefined
      ? [sources.systemFile ?? configFiles.system, withHome(configFiles.user, home)]
      : [withHome(sources.configFile, home)];
  const optional = sources.configFile === undefined;
  const files = await Promise.all(wanted.map((path) => readConfigFile(path, { optional })));
  return files.filter((file) => file !== undefined);
}

function placesOf(setting: Setting) {
  const { toml, flag, environment, own } = setting;
  const names = [{ variables: variablesOf(setting), keys: toml === undefined ? [] : [toml] }];
  if (own) names.unshift({ variables: [own.environment, doubledName(own.toml)], keys: [own.toml] });
  return { name: toml ?? environment, flag, names };
}

/** `~/` at the beginning, as the original has it in its own default; only paths can begin so. */
function withHome(text: string, home: string): string {
  return text.startsWith('~/') ? join(home, text.slice(2)) : text;
}

const keepRuntimeVariable = 'SPFS_KEEP_RUNTIME';

function refuseKeptRuntime(value: string | undefined): void {
  if (value === undefined || value === '') return;
  const kept = booleanOf(value);
  if (kept === false) return;
  if (kept === undefined) {
    throw new CodedError(
      'invalid-argument',
      `environment ${keepRuntimeVariable}: ${printed(value)} is neither true nor false`,
    );
  }
  throw new CodedError(
    'failed-precondition',
    `environment ${keepRuntimeVariable}: runs that are kept are not there yet: what a run writes is gone when it ends`,
    { next: `unset ${keepRuntimeVariable}` },
  );
}
