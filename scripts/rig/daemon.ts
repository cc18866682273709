import { join } from 'node:path';

import { packageRoot } from '../../src/package.js';
import { Service } from './process.js';

/** The program of the package, as `npm run build` leaves it. */
export const daemonProgram = join(packageRoot(), 'dist', 'cmd', 'erofs-snapshotter', 'main.js');

export interface DaemonOptions {
  readonly root: string;
  readonly address: string;
  readonly containerdAddress: string;
  /** Further arguments. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** An erofs-snapshotter with a root and a socket of its own. */
export function daemon(options: DaemonOptions): Service {
  return new Service({
    program: daemonProgram,
    args: [
      ...['--root', options.root],
      ...['--address', options.address],
      ...['--containerd-address', options.containerdAddress],
      ...(options.args ?? []),
    ],
    env: options.env,
    listensOn: { path: options.address },
  });
}
