import { mkdtemp, rm, writeFile, mkdir } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CodedError } from '../../../src/errors.js';
import {
  loadSpfsConfig,
  settings,
  type ConfigSources,
  type Setting,
  type SpfsConfig,
} from '../../../src/spfs/config/index.js';
import { casesOf, needed, rewrite, section, type Case } from '../../harness/txtar.js';

const fixtures = fileURLToPath(new URL('fixtures', import.meta.url));
const environment = { HOME: '/home/artist' };

function load(sources: Partial<ConfigSources>): Promise<SpfsConfig> {
  return loadSpfsConfig({ flags: {}, environment, runs: true, systemFile: '/no/such/file', ...sources });
}

const defaults = {
  storageRoot: '/var/lib/spin-stack/spfs',
  containerdAddress: '/run/containerd/containerd.sock',
  snapshotter: 'spin-erofs',
  imageNamespace: 'default',
  memory: 2 ** 30,
  cpus: 2,
  accelerator: 'auto',
  bootTimeoutSeconds: 120,
  logLevel: 'warn',
  configFiles: [],
  unused: [],
  unknown: [],
};

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'spfs-config-'));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

/** A home folder whose spfs.toml has this text. */
async function home(text: string): Promise<string> {
  const path = await folder();
  await mkdir(join(path, '.config', 'spfs'), { recursive: true });
  await writeFile(join(path, '.config', 'spfs', 'spfs.toml'), text);
  return path;
}

async function system(text: string): Promise<string> {
  const path = join(await folder(), 'spfs.toml');
  await writeFile(path, text);
  return path;
}

test('the configuration of nothing is the defaults, frozen', async () => {
  const config = await load({});
  expect(config).toEqual(defaults);
  expect(Object.isFrozen(config) && Object.isFrozen(config.configFiles)).toBe(true);
});

/*
 * A case is a file: an spfs.toml, and what it `means`; or the place and the key fact of why it is `refused`, one a line. Of a few
 * cases every word counts.
 */
const titled = (kind: string) => casesOf(join(fixtures, kind)).map((one) => [one.name, one] as const);

/** Loads the case's file; paths of it are shown as FILE. */
async function loadCase(one: Case): Promise<SpfsConfig> {
  const configFile = await system(needed(one, 'spfs.toml'));
  try {
    const config = await load({ configFile });
    return JSON.parse(JSON.stringify(config).replaceAll(configFile, 'FILE')) as SpfsConfig;
  } catch (error) {
    if (error instanceof CodedError) error.message = error.message.replace(`file ${configFile}`, 'FILE');
    throw error;
  }
}

test.for(titled('good'))('a good file: %s', async ([, one]) => {
  const text = `${JSON.stringify(await loadCase(one), undefined, 2)}\n`;
  if (process.env['UPDATE_GOLDEN'] === '1') await rewrite(one, 'means', text);
  expect(text).toBe(needed(one, 'means'));
});

test.for(titled('bad'))('a bad file: %s', async ([, one]) => {
  const error: unknown = await loadCase(one).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'invalid-argument' });
  const { advice } = error as CodedError;
  const words = section(one, 'refused, in these words');
  if (words !== undefined) {
    expect(`${advice}\n`).toBe(words);
    return;
  }
  const [place = '', fact = ''] = needed(one, 'refused').split('\n');
  expect(advice.slice(0, place.length)).toBe(place);
  expect(advice.slice(place.length)).toContain(fact);
});

describe('the order of the places', () => {
  test('flag, environment, the user’s file, the system’s file, default; key by key', async () => {
    const systemFile = await system(`
      [containerd]
      address = "/system.sock"
      snapshotter = "of-system"
      image_namespace = "of-system"
      [vm]
      cpus = 3
      memory = "2G"
      accelerator = "kvm"
    `);
    const HOME = await home(`
      [containerd]
      address = "/user.sock"
      snapshotter = "of-user"
      image_namespace = "of-user"
      [vm]
      cpus = 4
    `);
    const config = await load({
      systemFile,
      environment: { HOME, CONTAINERD_ADDRESS: '/env.sock', CONTAINERD_NAMESPACE: 'of-env', SPFS_VM_ACCELERATOR: '' },
      flags: { containerdAddress: '/flag.sock' },
    });
    expect(config).toEqual({
      ...defaults,
      containerdAddress: '/flag.sock',
      imageNamespace: 'of-env',
      snapshotter: 'of-user',
      cpus: 4,
      memory: 2 * 2 ** 30,
      accelerator: 'kvm',
      configFiles: [systemFile, join(HOME, '.config/spfs/spfs.toml')],
    });
  });

  test('a named file is read instead of both, and must exist', async () => {
    const HOME = await home('[vm]\ncpus = 4\n');
    const configFile = await system('[log]\nlevel = "info"\n');
    const config = await load({ configFile, environment: { HOME }, systemFile: await system('[vm]\ncpus = 5\n') });
    expect(config).toEqual({ ...defaults, logLevel: 'info', configFiles: [configFile] });
    await expect(load({ configFile: '/no/such/file' })).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('file /no/such/file cannot be read: ENOENT') as string,
    });
  });

  test('a usual file that is there and cannot be read is not passed over', async () => {
    const HOME = await folder();
    await mkdir(join(HOME, '.config/spfs/spfs.toml'), { recursive: true });
    await expect(load({ environment: { HOME } })).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('cannot be read: EISDIR') as string,
    });
  });

  test('without HOME it is the home folder of the user who runs the command', async () => {
    const config = await load({ environment: { SPFS_VM_KERNEL: '~/vmlinuz' }, configFile: await system('') });
    expect(config.kernel).toBe(join(homedir(), 'vmlinuz'));
  });

  test('every variable is known', async () => {
    const config = await load({
      environment: {
        ...environment,
        SPFS_STORAGE_ROOT: '~/spfs',
        SPFS_FILESYSTEM_TMPFS_SIZE: '25%',
        CONTAINERD_ADDRESS: 'unix:/c.sock',
        SPFS_CONTAINERD_SNAPSHOTTER: 'erofs',
        CONTAINERD_NAMESPACE: 'moby',
        SPFS_VM_KERNEL: '/k',
        SPFS_VM_MODULES: '/m',
        SPFS_VM_BUSYBOX: '/b',
        SPFS_VM_VIRTIOFSD: '/v',
        SPFS_VM_MEMORY: '512M',
        SPFS_VM_CPUS: '1',
        SPFS_VM_ACCELERATOR: 'tcg',
        SPFS_VM_BOOT_TIMEOUT_SECONDS: '7',
        SPFS_USER_NAME: 'me',
        SPFS_USER_DOMAIN: 'here',
        SPFS_RUNTIME_NAME: 'night-shift_1',
        SPFS_LOG_LEVEL: 'trace',
        SPFS_SOMETHING_OF_THE_ORIGINAL: 'x',
      },
    });
    expect(config).toEqual({
      storageRoot: '/home/artist/spfs',
      tmpfsSize: '25%',
      containerdAddress: '/c.sock',
      snapshotter: 'erofs',
      imageNamespace: 'moby',
      kernel: '/k',
      modules: '/m',
      busybox: '/b',
      virtiofsd: '/v',
      memory: 2 ** 29,
      cpus: 1,
      accelerator: 'tcg',
      bootTimeoutSeconds: 7,
      userName: 'me',
      userDomain: 'here',
      runtimeName: 'night-shift_1',
      logLevel: 'trace',
      configFiles: [],
      unused: [],
      unknown: [],
    });
  });
});

test('two underscores may part section and key, one wins, and the variables of ours alone win over all', async () => {
  const doubled = {
    SPFS_STORAGE__ROOT: '/doubled',
    SPFS_FILESYSTEM__TMPFS_SIZE: '25%',
    SPFS_CONTAINERD__ADDRESS: '/doubled.sock',
    SPFS_CONTAINERD__SNAPSHOTTER: 'doubled',
    SPFS_CONTAINERD__IMAGE_NAMESPACE: 'doubled',
    SPFS_VM__KERNEL: '/k',
    SPFS_VM__MODULES: '/m',
    SPFS_VM__BUSYBOX: '/b',
    SPFS_VM__VIRTIOFSD: '/v',
    SPFS_VM__MEMORY: '512M',
    SPFS_VM__CPUS: '1',
    SPFS_VM__ACCELERATOR: 'tcg',
    SPFS_VM__BOOT_TIMEOUT_SECONDS: '7',
    SPFS_USER__NAME: 'me',
    SPFS_USER__DOMAIN: 'here',
    SPFS_LOG__LEVEL: 'trace',
  };
  const names = Object.values<Setting>(settings).flatMap(({ toml }) => toml ?? []);
  expect(Object.keys(doubled)).toEqual(names.map((name) => `SPFS_${name.replace('.', '__').toUpperCase()}`));
  const { configFiles, unused, unknown, runtimeName, ...read } = await load({ environment: doubled });
  expect([configFiles, unused, unknown, runtimeName]).toEqual([[], [], [], undefined]);
  expect(read).toEqual({
    ...{ storageRoot: '/doubled', tmpfsSize: '25%', containerdAddress: '/doubled.sock', snapshotter: 'doubled' },
    ...{ imageNamespace: 'doubled', kernel: '/k', modules: '/m', busybox: '/b', virtiofsd: '/v', memory: 2 ** 29 },
    ...{ cpus: 1, accelerator: 'tcg', bootTimeoutSeconds: 7, userName: 'me', userDomain: 'here', logLevel: 'trace' },
  });
  const CONTAINERD_ADDRESS = '/shared.sock';
  const single = await load({ environment: { ...doubled, CONTAINERD_ADDRESS, SPFS_STORAGE_ROOT: '/single' } });
  expect([single.storageRoot, single.containerdAddress]).toEqual(['/single', '/doubled.sock']);
  const own = { ...doubled, SPFS_STORAGE_ROOT: '/shared', SPFS_STORAGE__SPIN_ROOT: '/own' };
  expect(await load({ environment: own })).toMatchObject({ storageRoot: '/own' });
});

test('a storage root that is given by a name of ours alone wins over the names that the original reads', async () => {
  const systemFile = await system('[storage]\nspin_root = "/ours-by-file"\nroot = "/shared-by-file"\n');
  const shared = { ...environment, SPFS_STORAGE_ROOT: '/shared' };
  const ours = { ...shared, SPIN_SPFS_STORAGE_ROOT: '/ours' };
  const roots = await Promise.all([
    load({ systemFile, environment: ours, flags: { storageRoot: '/flag' } }),
    load({ systemFile, environment: ours }),
    load({ systemFile, environment: shared }),
    load({ environment: shared }),
  ]);
  expect(roots.map(({ storageRoot }) => storageRoot)).toEqual(['/flag', '/ours', '/ours-by-file', '/shared']);
});

describe('a wrong value from elsewhere names its source', () => {
  test.for<[string, Partial<ConfigSources>, string]>([
    ['flag', { flags: { cpus: '0' } }, 'flag --cpus: "0" is not a whole number of processors from 1 to 255'],
    ['empty flag', { flags: { storageRoot: '' } }, 'flag --storage-root: "" is neither an absolute path nor'],
    ['huge number', { flags: { cpus: '9'.repeat(400) } }, 'is not a whole number of processors from 1 to 255'],
    [
      'variable',
      { environment: { SPFS_VM_MEMORY: 'lots' } },
      'environment SPFS_VM_MEMORY: "lots" is not a size: write',
    ],
    ['name', { environment: { SPFS_RUNTIME_NAME: 'a,b' } }, 'environment SPFS_RUNTIME_NAME: "a,b" is not a name of at'],
    ['option', { environment: { SPFS_RUNTIME_NAME: '-x' } }, 'environment SPFS_RUNTIME_NAME: "-x" is not a name of at'],
    ['long', { environment: { CONTAINERD_ADDRESS: `/${'x'.repeat(107)}` } }, 'is longer than the 107 bytes'],
    ['keep', { environment: { SPFS_KEEP_RUNTIME: 'maybe' } }, '"maybe" is neither true nor false'],
  ])('%s', async ([, sources, message]) => {
    await expect(load(sources)).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining(message) as string,
    });
  });
});

describe('SPFS_KEEP_RUNTIME', () => {
  test.for(['1', 'true', 'YES'])('%s is refused for a run, and means nothing to another command', async (value) => {
    const set = { ...environment, SPFS_KEEP_RUNTIME: value };
    await expect(load({ environment: set })).rejects.toMatchObject({
      code: 'failed-precondition',
      next: 'unset SPFS_KEEP_RUNTIME',
    });
    expect(await load({ environment: set, runs: false })).toEqual(defaults);
  });

  test.for(['', '0', 'false', 'off'])('%j is no wish to keep it', async (value) => {
    expect(await load({ environment: { ...environment, SPFS_KEEP_RUNTIME: value } })).toEqual(defaults);
  });
});
