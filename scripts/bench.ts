/**
 * Measures this snapshotter and its peers in one run, in turns, and holds the ratios against the project's bars. Everything is
 * private: a temporary folder, loopback, unix sockets; nothing is left behind, however it ends.
 */
import { setMaxListeners } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';

import { Command } from 'commander';

import { silentLogger } from '../src/log.js';
import { type Scope, withScope } from '../src/scope.js';
import { benchImage } from './bench/image.js';
import { currentLoad, describeMachine, describeVersions } from './bench/machine.js';
import { allParts, parseParts, parseRounds, type PartName, parts } from './bench/parts.js';
import { makeReport, renderText, type Report } from './bench/report.js';
import { Results } from './bench/results.js';
import { startWorld, type World } from './bench/world.js';
import { writeDocs, writeJson } from './bench/write.js';
import { useTools } from './rig/kernel.js';
import { RigError } from './rig/process.js';
import { pushImage } from './rig/push.js';
import { Steps } from './rig/steps.js';

interface Options {
  readonly json?: string;
  readonly image?: string;
  readonly quick?: true;
  readonly only?: readonly PartName[];
  readonly rounds?: number;
}

const leastRounds = 5;

async function bench(options: Options, steps: Steps, scope: Scope, signal: AbortSignal): Promise<Report> {
  const loadBefore = currentLoad();
  const quick = options.quick === true;
  const rounds = options.rounds ?? (quick ? 2 : leastRounds);
  const wanted = options.only ?? allParts;
  const results = new Results();
  const { rig, withoutErofs } = await steps.run('start containerd, a registry and erofs-snapshotter, all private', () =>
    startWorld(scope),
  );
  const image = await steps.run('make or open the image', async () => {
    const scratch = join(rig.folder, 'image');
    await mkdir(scratch);
    return benchImage(
      { given: options.image === undefined ? undefined : resolve(options.image), quick, signal },
      scratch,
    );
  });
  const name = await steps.run('push it to the registry', () => pushImage(image, rig.registry.host, 'bench', 'latest'));
  const world: World = { rig, image, name, rounds, quick, signal, results, withoutErofs };
  for (const part of wanted) await steps.run(parts[part].title, () => parts[part].run(world));
  const described =
    options.image === undefined ? (quick ? 'small (the one of the demo)' : 'big (made from Debian packages)') : 'given';
  return makeReport(results, {
    date: new Date().toISOString(),
    run: {
      rounds,
      quick,
      parts: wanted,
      image: { name: described, layers: image.manifest.layers.map(({ size }) => size) },
    },
    machine: await describeMachine(rig.folder, loadBefore),
    versions: await describeVersions(),
  });
}

/** Only a whole run on the big image replaces the result that is kept with the source. */
function isWhole({ image, quick, only, rounds = leastRounds }: Options): boolean {
  return image === undefined && quick === undefined && only === undefined && rounds >= leastRounds;
}

async function write(report: Report, options: Options): Promise<void> {
  const written = [...(await writeDocs(report, isWhole(options) ? 'latest' : 'partial'))];
  if (options.json !== undefined) {
    await writeJson(report, options.json);
    written.push(resolve(options.json));
  }
  console.log(`written: ${written.map((path) => relative(process.cwd(), path)).join(', ')}`);
}

/** @returns the exit status. A bar that is missed is a result, not a failure. */
async function main(options: Options): Promise<number> {
  const interrupted = new AbortController();
  const stop = (name: NodeJS.Signals) => interrupted.abort(new RigError(`interrupted by ${name}`, 'start it again'));
  process.on('SIGINT', stop).on('SIGTERM', stop);
  useTools();
  const { signal } = interrupted;
  // Many calls at once listen to it.
  setMaxListeners(0, signal);
  const steps = new Steps(3 + (options.only ?? allParts).length, signal);
  try {
    const report = await withScope(silentLogger(), (scope) => bench(options, steps, scope, signal));
    console.log(`\n${renderText(report)}`);
    await write(report, options);
  } catch (error) {
    console.error(`bench: ${steps.explain(signal.aborted ? signal.reason : error)}`);
    return signal.aborted ? 130 : 1;
  }
  console.log('bench: done');
  return 0;
}

const command = new Command('bench')
  .description(
    "Measures pulls, Diff, Commit, merging, memory and many snapshots against containerd's own snapshotters.",
  )
  .option('--json <file>', 'write the result there, too')
  .option('--image <path>', 'an OCI layout folder, or a tar of one, instead of the big image made from Debian packages')
  .option('--quick', 'two rounds, a small image and 1,000 snapshots: to see that it works')
  .option('--only <names>', `some of the benchmarks, with commas: ${Object.keys(parts).join(', ')}`, parseParts)
  .option('--rounds <number>', `rounds (default: ${leastRounds}; quick: 2)`, parseRounds)
  .action(async (options: Options) => {
    process.exit(await main(options));
  });
await command.parseAsync();
