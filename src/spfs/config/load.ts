import { homedir } from 'node:os';
import { join } from 'node:path';
import type { z } from 'zod';
import { SnapshotterError } from '../../errors.js';
import { readConfigFile, type ConfigFile } from './file.js';
import { configFiles, settings, variablesOf, type Setting, type SettingName } from './settings.js';
import { booleanOf } from './values.js';

type Parsed = { readonly [Name in SettingName]: z.infer<(typeof settings)[Name]['schema']> };
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

export interface ConfigSources {
  /** What flags were given, as text. */
  readonly flags: Readonly<Partial<Record<SettingName, string>>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** `--config`: read instead of the usual two; it must exist. */
  readonly configFile?: string | undefined;
  /** Whether the command starts a run, to which SPFS_KEEP_RUNTIME would apply. */
  readonly runs: boolean;
  /** Another place for the system's file; for tests. */
  readonly systemFile?: string;
}

/**
 * Each setting from the first of: its flag, its environment variables (an empty one counts as none), the user's file, the system's
 * file, its default. Names of ours alone are asked for before names that the original shares.
 *
 * @throws SnapshotterError `invalid-argument` naming the source, the value and what is wrong with it; `failed-precondition` for
 *   what a later release is to do.
 */
export async function loadSpfsConfig(sources: ConfigSources): Promise<SpfsConfig> {
  const home = sources.environment['HOME'] || homedir();
  const files = await readFiles(sources, home);
  const values = (Object.keys(settings) as SettingName[]).flatMap((name) => {
    const value = valueOf(name, settings[name], sources, files, home);
    return value === undefined ? [] : [[name, value] as const];
  });
  if (sources.runs) refuseKeptRuntime(sources.environment[keepRuntimeVariable]);
  return Object.freeze({
    ...(Object.fromEntries(values) as unknown as Omit<SpfsConfig, 'configFiles' | 'unused' | 'unknown'>),
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

function valueOf(
  name: SettingName,
  setting: Setting,
  sources: ConfigSources,
  files: readonly ConfigFile[],
  home: string,
): unknown {
  const flag = sources.flags[name];
  if (flag !== undefined) return validated(setting, flag, `flag ${setting.flag ?? name}`, home);

  const names = { variables: variablesOf(setting), toml: setting.toml };
  const own = setting.own && { variables: [setting.own.environment], toml: setting.own.toml };
  for (const { variables, toml } of own ? [own, names] : [names]) {
    for (const variable of variables) {
      const environment = sources.environment[variable];
      if (environment === undefined || environment === '') continue;
      return validated(setting, environment, `environment ${variable}`, home);
    }
    const file = toml === undefined ? undefined : files.findLast(({ values }) => values.has(toml));
    if (file === undefined || toml === undefined) continue;
    return validated(setting, file.values.get(toml), `file ${file.path} key ${toml}`, home);
  }
  return setting.fallback === undefined ? undefined : validated(setting, setting.fallback, `default of ${name}`, home);
}

function validated(setting: Setting, value: unknown, source: string, home: string): unknown {
  const result = setting.schema.safeParse(typeof value === 'string' ? withHome(value, home) : value);
  if (result.success) return result.data;
  const why = result.error.issues[0]?.message ?? 'is not valid';
  throw new SnapshotterError('invalid-argument', `${source}: ${shown(value)} ${why}`, { facts: { source } });
}

/** `~/` at the beginning, as the original has it in its own default; only paths can begin so. */
function withHome(text: string, home: string): string {
  return text.startsWith('~/') ? join(home, text.slice(2)) : text;
}

/** TOML knows no null and no undefined, so there is always something to show. */
function shown(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item)).slice(0, 200);
}

const keepRuntimeVariable = 'SPFS_KEEP_RUNTIME';

function refuseKeptRuntime(value: string | undefined): void {
  if (value === undefined || value === '') return;
  const kept = booleanOf(value);
  if (kept === false) return;
  if (kept === undefined) {
    throw new SnapshotterError(
      'invalid-argument',
      `environment ${keepRuntimeVariable}: ${shown(value)} is neither true nor false`,
    );
  }
  throw new SnapshotterError(
    'failed-precondition',
    `environment ${keepRuntimeVariable}: runs that are kept are not there yet: what a run writes is gone when it ends`,
    { next: `unset ${keepRuntimeVariable}` },
  );
}
