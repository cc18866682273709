/**
 * The whole path, for real: an image is pulled by containerd through our plugins, and a guest boots from the files we answer
 * with. Leaves nothing running or mounted, however it ends.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { Command } from 'commander';

import { silentLogger } from '../src/log.js';
import { type Scope, withScope } from '../src/scope.js';
import { disksFromMounts } from '../src/vm/disks.js';
import { parseDescriptor } from '../src/vmdk/descriptor.js';
import { type CollectedResult, runInGuest } from './rig/run-in-guest.js';
import type { Mount } from '../src/vocabulary.js';
import { snapshotterName } from './rig/containerd.js';
import { anyImageScript, demoScript, guestShell, writtenFile, writtenText } from './rig/demo-commands.js';
import { buildDemoImage } from './rig/demo-image.js';
import { readFromExt4 } from './rig/ext4-file.js';
import { busybox, guestKernel, useTools } from './rig/kernel.js';
import { chainId, type Image } from './rig/oci-layout.js';
import { openImage } from './rig/open-image.js';
import { lastLines, RigError } from './rig/process.js';
import { pushImage } from './rig/push.js';
import { type Rig, startRig } from './rig/rig.js';
import { SnapshotsClient } from './rig/snapshots-client.js';
import { show, Steps } from './rig/steps.js';

interface Options {
  readonly image?: string;
}

async function demo({ image: given }: Options, steps: Steps, scope: Scope, signal: AbortSignal): Promise<void> {
  const rig = await steps.run('start containerd, a registry and erofs-snapshotter, all private', async () => {
    const started = await startRig({ onStart: (what, where) => show(`${what.padEnd(18)} ${where}`) });
    scope.defer('rig', () => started.close());
    return started;
  });
  const image = await steps.run(
    given === undefined ? 'make an image from Debian packages' : `open the image ${given}`,
    () => imageOf(given, rig),
  );
  const name = await steps.run('push it to the registry', () => pushImage(image, rig.registry.host, 'demo', 'latest'));
  await steps.run(`pull it: ctr images pull --snapshotter ${snapshotterName} ${name}`, () => pull(rig, name, signal));

  const client = new SnapshotsClient(rig.containerd.address);
  scope.defer('client', () => client.close());
  const mounts = await steps.run('prepare a container snapshot, and ask for its mounts', async () => {
    await client.prepare('demo', chainId(image.diffIds));
    const answer = await client.mounts('demo');
    show(
      JSON.stringify(
        answer.map(({ type, source, target, options }) => ({ type, source, target, options })),
        null,
        2,
      ),
    );
    return answer;
  });
  await steps.run('read the disks behind the answer', () => showDisks(mounts));
  const result = await steps.run('boot a guest from these disks and run a command of the image', () =>
    runCommand(mounts, given === undefined, signal),
  );
  if (given === undefined && result.exitCode !== 0) {
    throw new RigError(`the command in the guest ended with exit status ${result.exitCode}`, 'see its output above');
  }
  await steps.run("find the guest's file in the writable layer, on this host", () => verifyWritten(mounts));
}

async function imageOf(given: string | undefined, rig: Rig): Promise<Image> {
  const folder = join(rig.folder, 'image');
  await mkdir(folder);
  const image = given === undefined ? await buildDemoImage(folder) : await openImage(resolve(given), folder);
  for (const [index, layer] of image.manifest.layers.entries()) {
    show(`layer ${index + 1}: ${layer.digest.slice(0, 19)}… ${(layer.size / 1024).toFixed(0)} KiB ${layer.mediaType}`);
  }
  return image;
}

async function pull(rig: Rig, name: string, signal: AbortSignal): Promise<void> {
  const args = ['images', 'pull', '--plain-http', '--snapshotter', snapshotterName, name];
  const { exitCode, stdout, stderr } = await rig.containerd.tryCtr(args, { signal });
  if (exitCode !== 0) {
    const logs = `the snapshotter last said:\n${lastLines(rig.daemon.log)}`;
    throw new RigError(`ctr images pull: ${lastLines(stderr)}\n${logs}`, 'see the log lines above for the cause');
  }
  show(lastLines(stdout, 1));
}

async function showDisks(mounts: readonly Mount[]): Promise<void> {
  for (const disk of await disksFromMounts(mounts)) {
    show(`${disk.serial}: ${disk.path} (${disk.format}, ${disk.readOnly ? 'read-only' : 'writable'})`);
    if (disk.format !== 'vmdk') continue;
    for (const { sectors, path, offset } of parseDescriptor(await readFile(disk.path, 'utf8'))) {
      show(`  extent of ${sectors} sectors from ${offset}: ${path}`);
    }
  }
}

async function runCommand(mounts: readonly Mount[], isOurs: boolean, signal: AbortSignal): Promise<CollectedResult> {
  const run = (argv: readonly string[]) =>
    runInGuest({ disks: { mounts }, argv, kernel: guestKernel, busybox, timeoutMs: 300_000, signal });
  const script = isOurs ? demoScript : anyImageScript;
  let result = await run(['/bin/sh', '-c', script]);
  if (result.exitCode === 127 && !isOurs) {
    show('the image has no /bin/sh: running a shell that the guest brings along, in the root of the image');
    result = await run([...guestShell, '-c', script]);
  }
  show(result.output.toString());
  const { exitCode, seconds, bootSeconds, accelerator } = result;
  show(`exit status ${exitCode}; ${seconds.toFixed(1)} s with ${accelerator}, of which ${bootSeconds} s for the boot`);
  return result;
}

async function verifyWritten(mounts: readonly Mount[]): Promise<void> {
  const image = mounts.at(-1)?.source ?? '';
  const found = await readFromExt4(image, `/upper${writtenFile}`);
  if (found !== `${writtenText}\n`) {
    throw new RigError(`upper${writtenFile} is not in ${image}`, "see the guest's output: it could not write");
  }
  show(`${image}: upper${writtenFile} says ${JSON.stringify(found)}`);
}

/** @returns the exit status. */
async function main(options: Options): Promise<number> {
  const interrupted = new AbortController();
  const stop = (name: NodeJS.Signals) => interrupted.abort(new RigError(`interrupted by ${name}`, 'start it again'));
  process.on('SIGINT', stop).on('SIGTERM', stop);
  useTools();
  const { signal } = interrupted;
  const steps = new Steps(8, signal);
  try {
    await withScope(silentLogger(), (scope) => demo(options, steps, scope, signal));
  } catch (error) {
    console.error(`demo: ${steps.explain(signal.aborted ? signal.reason : error)}`);
    return signal.aborted ? 130 : 1;
  }
  console.log('demo: ok');
  return 0;
}

const command = new Command('demo')
  .description('Pulls an image through erofs-snapshotter into a private containerd, and boots a guest from its disks.')
  .option('--image <path>', 'an OCI layout folder, or a tar of one, instead of the image made from Debian packages')
  .action(async (options: Options) => {
    process.exit(await main(options));
  });
await command.parseAsync();
