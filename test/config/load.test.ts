import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadConfig, type Config, type ConfigSources } from '../../src/config/index.js';

function load(sources: Partial<ConfigSources>): Promise<Config> {
  return loadConfig({ flags: {}, environment: {}, defaultConfigFile: '/no/such/file', ...sources });
}

async function file(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'config.toml'), text);
  return join(folder, 'config.toml');
}

const defaults = {
  root: '/var/lib/spin-stack/erofs-snapshotter',
  address: '/run/spin-stack/erofs-snapshotter.sock',
  containerdAddress: '/run/containerd/containerd.sock',
  containerdNamespace: 'default',
  defaultSize: 64 * 1024 * 1024,
  setImmutable: false,
  guestDisks: 'kernel',
  logLevel: 'info',
  maxConversions: availableParallelism(),
  conversionTimeoutSeconds: 1800,
  shareLayers: 'all',
  convertAhead: true,
  maxLayerSize: 2 ** 40,
};

describe('the configuration', () => {
  test('of nothing is the defaults, frozen', async () => {
    const config = await load({});
    expect(config).toEqual(defaults);
    expect(Object.isFrozen(config)).toBe(true);
  });

  test('of a usual file below what is no folder is the defaults', async () => {
    expect(await load({ defaultConfigFile: join(await file(''), 'config.toml') })).toEqual(defaults);
  });

  test('takes each setting from the first of flag, environment, file and default', async () => {
    const configFile = await file('root = "/file"\naddress = "/file.sock"\nlog_level = "warn"\nmax_conversions = 3\n');
    const config = await load({
      configFile,
      environment: { EROFS_SNAPSHOTTER_ROOT: '/env', EROFS_SNAPSHOTTER_ADDRESS: '/env.sock', LOG_LEVEL: '' },
      flags: { root: '/flag' },
    });
    expect(config).toEqual({
      ...defaults,
      root: '/flag',
      address: '/env.sock',
      logLevel: 'warn',
      maxConversions: 3,
      configFile,
    });
  });

  test('knows every variable and every key', async () => {
    const environment = {
      EROFS_SNAPSHOTTER_ROOT: '/r//x/',
      EROFS_SNAPSHOTTER_ADDRESS: 'unix:///a.sock',
      EROFS_SNAPSHOTTER_DEFAULT_SIZE: '10GiB',
      EROFS_SNAPSHOTTER_SET_IMMUTABLE: 'true',
      CONTAINERD_ADDRESS: 'unix:/c.sock',
      CONTAINERD_NAMESPACE: 'k8s.io',
      LOG_LEVEL: 'DEBUG',
    };
    const wanted = {
      root: '/r/x',
      address: '/a.sock',
      defaultSize: 10 * 2 ** 30,
      setImmutable: true,
      containerdAddress: '/c.sock',
      containerdNamespace: 'k8s.io',
      logLevel: 'debug',
    };
    expect(await load({ environment })).toMatchObject(wanted);
    const configFile = await file(`
      root = "/r/x/"
      address = "/a.sock"
      default_size = 10737418240
      set_immutable = true
      containerd_address = "/c.sock"
      containerd_namespace = "k8s.io"
      log_level = "debug"
      socket_group = "root"
      max_conversions = 2
      conversion_timeout_seconds = 60
      max_layer_size = "20G"
    `);
    const rest = { socketGid: 0, maxConversions: 2, conversionTimeoutSeconds: 60, maxLayerSize: 20 * 2 ** 30 };
    expect(await load({ configFile })).toMatchObject({ ...wanted, ...rest });
  });

  test('reads the default file only when it exists and no other is named', async () => {
    const defaultConfigFile = await file('root = "/default-file"');
    expect(await load({ defaultConfigFile })).toMatchObject({ root: '/default-file', configFile: defaultConfigFile });
    const configFile = await file('log_level = "warn"');
    expect(await load({ defaultConfigFile, configFile })).toMatchObject({ root: defaults.root, logLevel: 'warn' });
  });
});

describe('a wrong value names its source and what is wrong', () => {
  const long = `/${'x'.repeat(107)}`;

  test.for<[string, Partial<ConfigSources>, string]>([
    ['size', { flags: { defaultSize: '64X' } }, 'flag --default-size: "64X" is not a size: write a whole number'],
    [
      'size from the environment',
      { environment: { EROFS_SNAPSHOTTER_DEFAULT_SIZE: '1' } },
      'environment EROFS_SNAPSHOTTER_DEFAULT_SIZE: "1" is out of range: choose 8 MiB to 8 TiB',
    ],
    ['largest size', { flags: { defaultSize: '9T' } }, 'flag --default-size: "9T" is out of range'],
    ['root', { flags: { root: 'relative' } }, 'flag --root: "relative" is not an absolute path'],
    ['empty root', { flags: { root: '' } }, 'flag --root: "" is not an absolute path'],
    ['whole filesystem', { flags: { root: '//' } }, 'flag --root: "//" is the root of the whole filesystem'],
    ['comma', { flags: { root: '/a,b' } }, 'flag --root: "/a,b" contains a comma'],
    ['quote', { flags: { root: '/a"b' } }, String.raw`flag --root: "/a\"b" contains a comma, a double quote`],
    ['newline', { flags: { root: '/a\nb' } }, String.raw`flag --root: "/a\nb" contains a comma`],
    ['tcp', { flags: { address: 'tcp://x:1' } }, 'flag --address: "tcp://x:1" is neither an absolute path nor unix://'],
    ['long socket', { flags: { address: long } }, `flag --address: "${long}" is longer than the 107 bytes`],
    ['namespace', { environment: { CONTAINERD_NAMESPACE: 'a/b' } }, 'environment CONTAINERD_NAMESPACE: "a/b" is not a'],
    ['sharing', { flags: { shareLayers: 'some' } }, 'flag --share-layers: "some" is none of all, namespace'],
    ['level', { environment: { LOG_LEVEL: 'loud' } }, 'environment LOG_LEVEL: "loud" is none of trace, debug, info'],
    ['boolean', { flags: { setImmutable: 'maybe' } }, 'flag --set-immutable: "maybe" is neither true nor false'],
  ])('%s', async ([, sources, message]) => {
    await expect(load(sources)).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining(message) as string,
    });
  });

  test.for<[string, string]>([
    ['root = 7', 'key root: 7 is not text'],
    ['default_size = 64.5', 'key default_size: 64.5 is not a size'],
    ['set_immutable = 1', 'key set_immutable: 1 is neither true nor false'],
    ['max_conversions = 0', 'key max_conversions: 0 is not a whole number of conversions from 1 to 1024'],
    ['max_conversions = "2"', 'key max_conversions: "2" is not a whole number'],
    ['conversion_timeout_seconds = 1.5', 'key conversion_timeout_seconds: 1.5 is not a whole number of seconds'],
    ['socket_group = "no-such-group"', 'key socket_group: "no-such-group" is not a group in /etc/group'],
    ['rot = "/x"', 'key rot: there is no such setting'],
    ['[server]\nroot = "/x"', 'key server: there is no such setting'],
    ['root = "/x"\nroot = "/y"', 'line 2 column'],
    ['root = ', 'line 1 column'],
  ])('file with %j', async ([text, message]) => {
    const configFile = await file(text);
    await expect(load({ configFile })).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining(`file ${configFile} ${message}`) as string,
    });
  });

  test('file with a slip of the pen: the nearest setting is named', async () => {
    await expect(load({ configFile: await file('default_siz = "1G"') })).rejects.toMatchObject({
      next: 'the nearest one is default_size',
    });
  });

  test('file that was named and is not there', async () => {
    await expect(load({ configFile: '/no/such/file' })).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('file /no/such/file cannot be read: ENOENT') as string,
    });
  });
});
