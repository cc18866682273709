import { constants } from 'node:fs';
import { access } from 'node:fs/promises';

import type { Accelerator } from './arguments.js';

/** Decides once per process, since asking starts a machine and the answer does not change while the process lives. */
let answer: Promise<Accelerator> | undefined;

/**
 * KVM where it truly runs the kernel: `/dev/kvm` may open and still refuse a stock kernel (seen on nested virtualisation), so
 * `boots` must try. TCG, which always works, otherwise.
 *
 * @param boots starts a machine under KVM that reports at once; rejects when it does not.
 */
export function chooseAccelerator(boots: () => Promise<unknown>): Promise<Accelerator> {
  answer ??= probe(boots);
  return answer;
}

async function probe(boots: () => Promise<unknown>): Promise<Accelerator> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
    await boots();
    return 'kvm';
  } catch {
    return 'tcg';
  }
}
