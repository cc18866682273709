import { availableParallelism } from 'node:os';
import { writableLayerLimits } from '../ext4/index.js';
import {
  countOf,
  logLevel,
  oneOf,
  sizeWithin,
  socketPath,
  yesOrNo,
  type Setting as AnySetting,
} from '../settings/index.js';
import { group, namespace, rootPath } from './values.js';

/** One thing that can be configured, and where it is given. */
export interface Setting extends AnySetting {
  /** The name in a TOML file; the flag is the same with `--` and hyphens. */
  readonly toml: string;
  /** How `--help` shows the flag's value; a setting without it has no flag. */
  readonly argument?: string;
  readonly environment?: string;
}

/** In the order that `--help` and the documentation show. */
export const settings = {
  root: {
    toml: 'root',
    argument: '<folder>',
    environment: 'EROFS_SNAPSHOTTER_ROOT',
    default: '/var/lib/spin-stack/erofs-snapshotter',
    fallback: '/var/lib/spin-stack/erofs-snapshotter',
    meaning: 'folder that holds all snapshots and their records',
    schema: rootPath,
  },
  address: {
    toml: 'address',
    argument: '<socket>',
    environment: 'EROFS_SNAPSHOTTER_ADDRESS',
    default: '/run/spin-stack/erofs-snapshotter.sock',
    fallback: '/run/spin-stack/erofs-snapshotter.sock',
    meaning: 'unix socket to listen on',
    schema: socketPath,
  },
  containerdAddress: {
    toml: 'containerd_address',
    argument: '<socket>',
    environment: 'CONTAINERD_ADDRESS',
    default: '/run/containerd/containerd.sock',
    fallback: '/run/containerd/containerd.sock',
    meaning: "containerd's unix socket, for reading layers",
    schema: socketPath,
  },
  containerdNamespace: {
    toml: 'containerd_namespace',
    argument: '<name>',
    environment: 'CONTAINERD_NAMESPACE',
    default: 'default',
    fallback: 'default',
    meaning: 'namespace of calls that come without one',
    schema: namespace,
  },
  defaultSize: {
    toml: 'default_size',
    argument: '<size>',
    environment: 'EROFS_SNAPSHOTTER_DEFAULT_SIZE',
    default: '64M',
    fallback: '64M',
    meaning: "size of a container's writable layer, unless its labels say otherwise",
    schema: sizeWithin(writableLayerLimits),
  },
  setImmutable: {
    toml: 'set_immutable',
    argument: '[boolean]',
    environment: 'EROFS_SNAPSHOTTER_SET_IMMUTABLE',
    default: 'false',
    fallback: false,
    meaning: 'give committed layers the immutable attribute, so that not even root deletes them by accident',
    schema: yesOrNo,
  },
  logLevel: {
    toml: 'log_level',
    argument: '<level>',
    environment: 'LOG_LEVEL',
    default: 'info',
    fallback: 'info',
    meaning: 'least severe messages to log: trace, debug, info, warn, error or fatal',
    schema: logLevel,
  },
  socketGid: {
    toml: 'socket_group',
    default: 'none: root alone may connect',
    fallback: undefined,
    meaning: 'group, by name or number, whose members may connect to the socket',
    schema: group,
  },
  maxConversions: {
    toml: 'max_conversions',
    default: 'the number of CPUs',
    fallback: availableParallelism(),
    meaning: 'layers converted or merged at once, besides those that are still being fetched',
    schema: countOf('conversions', 1024),
  },
  conversionTimeoutSeconds: {
    toml: 'conversion_timeout_seconds',
    default: '1800',
    fallback: 1800,
    meaning: 'seconds that converting one layer, or merging one chain, may take',
    schema: countOf('seconds', 7 * 24 * 3600),
  },
  shareLayers: {
    toml: 'share_layers',
    argument: '<whose>',
    environment: 'EROFS_SNAPSHOTTER_SHARE_LAYERS',
    default: 'all',
    fallback: 'all',
    meaning: 'whose layers that are here already are used again: those of all namespaces, or of the same namespace',
    schema: oneOf(['all', 'namespace']),
  },
  guestDisks: {
    toml: 'guest_disks',
    argument: '<how>',
    environment: 'EROFS_SNAPSHOTTER_GUEST_DISKS',
    default: 'kernel',
    fallback: 'kernel',
    meaning: "how a container's writable layer is read for Commit and Diff: mounted by the kernel, or isolated from it",
    schema: oneOf(['kernel', 'isolated']),
  },
  convertAhead: {
    toml: 'convert_ahead',
    default: 'true',
    fallback: true,
    meaning:
      'convert layers while they are fetched, and the next ones of an image while containerd is still busy with one',
    schema: yesOrNo,
  },
  maxLayerSize: {
    toml: 'max_layer_size',
    default: '1T',
    fallback: '1T',
    meaning: 'size that the tar of one layer may have, so that a decompression bomb is stopped',
    schema: sizeWithin({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof settings;

/** Read when it exists and no other file is named. */
export const defaultConfigFile = '/etc/erofs-snapshotter/config.toml';

/** `--root`, or undefined for what is not common enough for a flag. */
export function flagOf(setting: Setting): string | undefined {
  return setting.argument === undefined ? undefined : `--${setting.toml.replaceAll('_', '-')}`;
}
