import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { lastLines, RigError, Service, tool, type ToolOptions, type ToolResult } from './process.js';

/** Names of the plugins, as in config/containerd-config.toml. */
export const snapshotterName = 'spin-erofs';
const differName = 'spin-erofs-diff';

/** Plugins that serve Kubernetes, need the machine's own state, or write outside the folder. */
const disabledPlugins = [
  'io.containerd.grpc.v1.cri',
  'io.containerd.cri.v1.images',
  'io.containerd.cri.v1.runtime',
  'io.containerd.podsandbox.controller.v1.podsandbox',
  'io.containerd.nri.v1.nri',
  'io.containerd.internal.v1.opt',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs',
];

export interface ContainerdOptions {
  /** A folder of its own. */
  readonly folder: string;
  /** Socket of erofs-snapshotter. */
  readonly snapshotterAddress: string;
  /** Appended to the configuration (TOML): settings of further plugins. */
  readonly moreConfig?: string;
}

/** A containerd that keeps to one folder, with our snapshotter and differ as proxy plugins. */
export class Containerd {
  readonly address: string;
  readonly #service: Service;
  readonly #config: string;
  readonly #options: ContainerdOptions;

  constructor(options: ContainerdOptions) {
    this.#options = options;
    this.address = join(options.folder, 'containerd.sock');
    this.#config = join(options.folder, 'config.toml');
    this.#service = new Service({
      program: 'containerd',
      args: ['--config', this.#config],
      listensOn: { path: this.address },
    });
  }

  async start(): Promise<void> {
    await writeFile(this.#config, configuration(this.#options, this.address));
    await this.#service.start();
  }

  get log(): string {
    return this.#service.log;
  }

  async stop(): Promise<void> {
    await this.#service.stop();
  }

  /** Runs ctr against this containerd; the exit status is the caller's to judge. */
  tryCtr(args: readonly string[], options: ToolOptions = {}): Promise<ToolResult> {
    return tool('ctr', ['--address', this.address, ...args], options);
  }

  /** The standard output of ctr. @throws RigError with what it said when it fails. */
  async ctr(args: readonly string[], options: ToolOptions = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.tryCtr(args, options);
    if (exitCode === 0) return stdout;
    throw new RigError(
      `ctr ${args.join(' ')} failed (exit status ${exitCode}): ${lastLines(stderr)}`,
      'look at the logs of containerd and of the snapshotter',
    );
  }
}

function configuration({ folder, snapshotterAddress, moreConfig = '' }: ContainerdOptions, address: string): string {
  const text = (value: unknown) => JSON.stringify(value);
  return `version = 3
root = ${text(join(folder, 'root'))}
state = ${text(join(folder, 'state'))}
disabled_plugins = ${text(disabledPlugins)}

[grpc]
  address = ${text(address)}
[ttrpc]
  address = ${text(`${address}.ttrpc`)}

[proxy_plugins.${snapshotterName}]
  type = 'snapshot'
  address = ${text(snapshotterAddress)}
  [proxy_plugins.${snapshotterName}.exports]
    root = ${text(join(folder, '..', 'snapshotter'))}
[proxy_plugins.${differName}]
  type = 'diff'
  address = ${text(snapshotterAddress)}

[plugins.'io.containerd.service.v1.diff-service']
  default = ['${differName}', 'walking']
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = 'linux'
  snapshotter = '${snapshotterName}'
  differ = '${differName}'
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = 'linux'
  snapshotter = 'overlayfs'
  differ = 'walking'
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = 'linux'
  snapshotter = 'native'
  differ = 'walking'
${moreConfig}`;
}
