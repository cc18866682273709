import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import { bootId } from '../host/index.js';
import { type Logger } from '../log.js';
import type { Accelerator } from './arguments.js';
import { bootGuest } from './boot.js';
import type { GuestKernel } from './kernel.js';

/** What the trial guest is made of. */
export interface Trial {
  readonly kernel: GuestKernel;
  readonly busybox: string;
  readonly log: Logger;
}

const trialMs = 5_000;
/** A verdict may have been wrong (a machine under load), and the fault may be mended: it does not hold for ever. */
const verdictMs = 3_600_000;
/** Removed by every start of the machine. Only root writes there, so others cannot decide for it. */
const verdictFile = '/run/spin-stack/kvm-refused.json';

/** Decides once per process, since asking starts a machine and the answer does not change while the process lives. */
let answer: Promise<Accelerator> | undefined;

/**
 * KVM where it truly runs the kernel: `/dev/kvm` may open and still refuse a stock kernel (seen on nested virtualisation), so
 * a guest that reports at once is tried. TCG, which always works, otherwise.
 *
 * The trial of a KVM that hangs takes five seconds, so that it failed is remembered below `/run`, for an hour at most and for
 * this start of the machine and this kernel alone.
 */
export function chooseAccelerator(trial: Trial): Promise<Accelerator> {
  answer ??= choose(trial);
  return answer;
}

async function choose(trial: Trial): Promise<Accelerator> {
  const expected = await expectedAccelerator(trial.kernel);
  if (expected === 'tcg') return 'tcg';
  try {
    await tryKvm(trial);
    return 'kvm';
  } catch (error) {
    trial.log.info({ err: error }, 'KVM does not run the guest: emulating it');
    await remember(trial.kernel).catch((cause: unknown) => {
      trial.log.debug({ err: cause }, 'that KVM failed could not be remembered');
    });
    return 'tcg';
  }
}

/** Without any caller's signal: one caller's cancellation must not decide for the process. */
async function tryKvm({ kernel, busybox, log }: Trial): Promise<void> {
  const setup = {
    root: 'minimal',
    stack: false,
    shares: [],
    streams: { kind: 'plain', stdin: false, stderr: false },
  } as const;
  const guest = await bootGuest({ kernel, busybox, log, disks: [], setup, timeoutMs: trialMs }, 'kvm');
  await guest.ended;
}

/** The answer without a trial: KVM when it opens and no trial has failed. */
export async function expectedAccelerator(kernel: GuestKernel): Promise<Accelerator> {
  const opens = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  return opens && !(await isRefused(kernel)) ? 'kvm' : 'tcg';
}

interface Verdict {
  readonly of: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

async function isRefused(kernel: GuestKernel): Promise<boolean> {
  try {
    const { of, at } = JSON.parse(await readFile(verdictFile, 'utf8')) as Partial<Verdict>;
    const age = Date.now() - (at ?? 0);
    return age >= 0 && age < verdictMs && of === (await subject(kernel));
  } catch {
    return false;
  }
}

async function remember(kernel: GuestKernel): Promise<void> {
  const verdict: Verdict = { of: await subject(kernel), at: Date.now() };
  await mkdir(dirname(verdictFile), { recursive: true });
  const temporary = `${verdictFile}.${process.pid}`;
  await writeFile(temporary, JSON.stringify(verdict), { mode: 0o600 });
  await rename(temporary, verdictFile);
}

/** What a verdict is about: this start of the machine, and this kernel file. */
async function subject({ vmlinuz }: GuestKernel): Promise<string> {
  const { size, mtimeMs } = await stat(vmlinuz);
  return createHash('sha256')
    .update(JSON.stringify([await bootId(), vmlinuz, size, mtimeMs]))
    .digest('hex');
}
