import {
  countInDigitsOf as countOf,
  logLevel,
  oneOf,
  sizeWithin,
  socketPath,
  type Setting as AnySetting,
} from '../../settings/index.js';
import { folderOfItsOwn, identifier, path, personOrHost, runtimeName, tmpfsSize } from './values.js';

/** One thing that can be configured, and where it is given. */
export interface Setting extends AnySetting {
  /** Its place in spfs.toml, as `section.key`; a setting without it is not for files. */
  readonly toml?: string;
  readonly flag?: string;
  readonly environment: string;
  /** Names that only this program reads, asked before those that the original spfs reads too. */
  readonly own?: { readonly toml: string; readonly environment: string };
}

/** In the order that the documentation shows. */
export const settings = {
  storageRoot: {
    toml: 'storage.root',
    flag: '--storage-root',
    environment: 'SPFS_STORAGE_ROOT',
    own: { toml: 'storage.spin_root', environment: 'SPIN_SPFS_STORAGE_ROOT' },
    default: '/var/lib/spin-stack/spfs',
    fallback: '/var/lib/spin-stack/spfs',
    meaning: 'folder that holds the tags and what they name',
    schema: folderOfItsOwn,
  },
  tmpfsSize: {
    toml: 'filesystem.tmpfs_size',
    flag: '--tmpfs-size',
    environment: 'SPFS_FILESYSTEM_TMPFS_SIZE',
    default: 'half of the memory of the guest',
    fallback: undefined,
    meaning: 'size of what a run can write in its guest, in bytes or as a percentage of its memory',
    schema: tmpfsSize,
  },
  containerdAddress: {
    toml: 'containerd.address',
    flag: '--containerd-address',
    environment: 'CONTAINERD_ADDRESS',
    default: '/run/containerd/containerd.sock',
    fallback: '/run/containerd/containerd.sock',
    meaning: "containerd's unix socket",
    schema: socketPath,
  },
  snapshotter: {
    toml: 'containerd.snapshotter',
    flag: '--snapshotter',
    environment: 'SPFS_CONTAINERD_SNAPSHOTTER',
    default: 'spin-erofs',
    fallback: 'spin-erofs',
    meaning: 'name under which containerd knows this snapshotter',
    schema: identifier('snapshotter'),
  },
  imageNamespace: {
    toml: 'containerd.image_namespace',
    flag: '--namespace',
    environment: 'CONTAINERD_NAMESPACE',
    default: 'default',
    fallback: 'default',
    meaning: 'namespace of containerd that has the images to import and to boot',
    schema: identifier('namespace'),
  },
  kernel: {
    toml: 'vm.kernel',
    flag: '--kernel',
    environment: 'SPFS_VM_KERNEL',
    default: "the host's running kernel, else the newest installed",
    fallback: undefined,
    meaning: 'kernel that the guest boots',
    schema: path,
  },
  modules: {
    toml: 'vm.modules',
    environment: 'SPFS_VM_MODULES',
    default: "the host's modules of that kernel",
    fallback: undefined,
    meaning: "folder with that kernel's modules, as /lib/modules/<release> is",
    schema: path,
  },
  busybox: {
    toml: 'vm.busybox',
    environment: 'SPFS_VM_BUSYBOX',
    default: 'looked up on PATH',
    fallback: undefined,
    meaning: 'static busybox that becomes the minimal root of a guest',
    schema: path,
  },
  virtiofsd: {
    toml: 'vm.virtiofsd',
    environment: 'SPFS_VM_VIRTIOFSD',
    default: 'looked up on PATH and in the usual places',
    fallback: undefined,
    meaning: 'program that shares live layers with a guest',
    schema: path,
  },
  memory: {
    toml: 'vm.memory',
    flag: '--memory',
    environment: 'SPFS_VM_MEMORY',
    default: '1G',
    fallback: '1G',
    meaning: 'memory of a guest',
    schema: sizeWithin({ minimum: 128 * 2 ** 20, maximum: 2 ** 44 }),
  },
  cpus: {
    toml: 'vm.cpus',
    flag: '--cpus',
    environment: 'SPFS_VM_CPUS',
    default: '2',
    fallback: 2,
    meaning: 'processors of a guest',
    schema: countOf('processors', 255),
  },
  accelerator: {
    toml: 'vm.accelerator',
    flag: '--accelerator',
    environment: 'SPFS_VM_ACCELERATOR',
    default: 'auto',
    fallback: 'auto',
    meaning: 'how QEMU runs a guest: kvm, tcg (emulated, slow), or auto for kvm where it works',
    schema: oneOf(['auto', 'kvm', 'tcg']),
  },
  bootTimeoutSeconds: {
    toml: 'vm.boot_timeout_seconds',
    environment: 'SPFS_VM_BOOT_TIMEOUT_SECONDS',
    default: '120',
    fallback: 120,
    meaning: 'seconds that a guest may take until its command starts',
    schema: countOf('seconds', 24 * 3600),
  },
  userName: {
    toml: 'user.name',
    environment: 'SPFS_USER_NAME',
    default: 'the user who runs the command',
    fallback: undefined,
    meaning: "who stands in a tag's history",
    schema: personOrHost,
  },
  userDomain: {
    toml: 'user.domain',
    environment: 'SPFS_USER_DOMAIN',
    default: 'the name of the host',
    fallback: undefined,
    meaning: 'what follows the user there, after an @',
    schema: personOrHost,
  },
  runtimeName: {
    flag: '--runtime-name',
    environment: 'SPFS_RUNTIME_NAME',
    default: 'made up for each run',
    fallback: undefined,
    meaning: 'name of the guest and of what keeps its layers',
    schema: runtimeName,
  },
  logLevel: {
    toml: 'log.level',
    flag: '--log-level',
    environment: 'SPFS_LOG_LEVEL',
    default: 'warn',
    fallback: 'warn',
    meaning: 'least severe messages to log: trace, debug, info, warn, error or fatal',
    schema: logLevel,
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof settings;

/** Read when they exist; what the second one says wins. `~` is the home folder. */
export const configFiles = { system: '/etc/spfs.toml', user: '~/.config/spfs/spfs.toml' } as const;

/**
 * The variables of a setting, the first that is set counts: as in the original, two underscores may part section and key, and
 * lose against one. A variable that containerd's tools share loses against both.
 */
export function variablesOf({ toml, environment }: Setting): readonly string[] {
  const doubled = toml === undefined ? [] : [doubledName(toml)];
  return environment.startsWith('SPFS_') ? [environment, ...doubled] : [...doubled, environment];
}

/** @param key of a file, as `section.key` */
export function doubledName(key: string): string {
  return `SPFS_${key.replace('.', '__').toUpperCase()}`;
}

/**
 * What spfs 0.44 takes from the same files and this program has no use for: whole sections, and keys in sections of ours. Any
 * other key is passed over, too, with a warning.
 */
export const unusedSections: readonly string[] = ['remote', 'fuse', 'monitor', 'environment', 'sentry'];
export const unusedKeys: readonly string[] = [
  'storage.allow_payload_sharing_between_users',
  'storage.tag_namespace',
  'storage.runtimes',
  'storage.digest_strategy',
  'storage.encoding_format',
  'filesystem.backend',
  'filesystem.secondary_repositories',
  'filesystem.use_mount_syscalls',
  'filesystem.max_layers',
  'filesystem.overlayfs_options',
  'filesystem.annotation_size_limit',
];
