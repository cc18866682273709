import { join } from 'node:path';

import { execa } from 'execa';
import { expect } from 'vitest';

import { guestKernel } from '../../scripts/rig/kernel.js';
import type { Rig } from '../../scripts/rig/rig.js';
import { packageRoot } from '../../src/package.js';

export type Variables = Readonly<Record<string, string>>;

export const spfsProgram = join(packageRoot(), 'dist', 'cmd', 'spfs', 'main.js');

/**
 * Throws when the guest's kernel fell over in an interrupt while it booted, which QEMU's emulation makes it do once in some hundred
 * boots. Such a test, and no other, is run again; see vitest.config.ts.
 */
export function requireSoundBoot(stderr: string): void {
  const panic = /Kernel panic - not syncing: Fatal exception in interrupt/.exec(stderr);
  if (panic) throw new Error(`${panic[0]}\n${stderr}`);
}

/** The built `spfs` beside one rig, with a storage root of its own there. */
export class SpfsProgram {
  readonly #rig: Pick<Rig, 'folder' | 'containerd'>;
  readonly #variables: Variables;

  /** @param variables what it is given besides */
  constructor(rig: Pick<Rig, 'folder' | 'containerd'>, variables: Variables = {}) {
    this.#rig = rig;
    this.#variables = variables;
  }

  get storageRoot(): string {
    return join(this.#rig.folder, 'spfs');
  }

  /** Nothing of the user who runs the tests has a part in it. */
  environment(more: Variables = {}): Variables {
    return {
      SPFS_STORAGE_ROOT: this.storageRoot,
      CONTAINERD_ADDRESS: this.#rig.containerd.address,
      SPFS_VM_KERNEL: guestKernel.vmlinuz,
      HOME: this.#rig.folder,
      ...this.#variables,
      ...more,
    };
  }

  /** Whatever the exit code; a promise that is the process, too. */
  try(args: readonly string[], { env = {}, input = '' }: { readonly env?: Variables; readonly input?: string } = {}) {
    return execa(spfsProgram, args, { env: this.environment(env), reject: false, input, timeout: 150_000 });
  }

  /** Standard output of a command that must succeed without a complaint. */
  async run(...args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.try(args);
    requireSoundBoot(stderr);
    expect([exitCode, stderr]).toEqual([0, expect.not.stringContaining('spfs:')]);
    return stdout;
  }
}
