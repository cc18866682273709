import { join } from 'node:path';

import { packageRoot } from '../../src/package.js';
import type { GuestKernel } from '../../src/vm/index.js';

const tools = join(packageRoot(), '.tools');

/** The programs that scripts/setup installed. */
const toolsFolder = join(tools, 'bin');

/** The guest kernel that scripts/setup installed. */
export const guestKernel: GuestKernel = {
  vmlinuz: join(tools, 'kernel', 'vmlinuz'),
  modulesFolder: join(tools, 'kernel', 'modules'),
  modulesOrder: join(tools, 'kernel', 'modules.order'),
};

export const busybox = join(toolsFolder, 'busybox');

/** Puts those programs first on PATH, for this process and all it starts. */
export function useTools(): void {
  process.env['PATH'] = `${toolsFolder}:${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
}
