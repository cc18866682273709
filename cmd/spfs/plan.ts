import { chainNames, toBase32, type Environment } from '../../src/spfs/index.js';
import { planGuest } from '../../src/vm/index.js';
import type { Mount } from '../../src/vocabulary.js';
import { columns, printJson, printLines } from './output.js';
import { guestOptions, type RunRequest } from './run-guest.js';
import type { Prepared, PrintWhat } from './run-prepare.js';
import type { Session } from './session.js';

/** Shows what a run would use. */
export async function printPlan(
  session: Session,
  prepared: Prepared,
  request: RunRequest,
  { what, json }: { readonly what: PrintWhat; readonly json: boolean },
): Promise<void> {
  if (what === 'chain') return printChain(prepared, json);
  if (what === 'mounts') return printMounts(prepared, json);
  const plan = await planGuest(await guestOptions(session, prepared, request));
  if (json) return printJson(plan);
  const processes = [plan.virtiofsd, plan.qemu].flatMap((each) => (each === undefined ? [] : [each]));
  await printLines(processes.map(({ program, argv }) => [program, ...argv].map(shellWord).join(' ')));
}

/** The top first, as people see stacks. */
function printChain({ environment }: Prepared, json: boolean): Promise<void> {
  const { layers } = environment;
  const names = chainNames(layers);
  const links = layers
    .map((layer, at) => ({ digest: toBase32(layer), diffId: layer, snapshot: names[at] ?? '' }))
    .reverse();
  if (json) return printJson({ chain: links[0]?.snapshot ?? '', links, liveLayers: environment.liveLayers });
  return printLines([...columns(links.map(({ digest, snapshot }) => [digest, snapshot])), ...liveLines(environment)]);
}

function printMounts({ environment, stack, root, rootImage }: Prepared, json: boolean): Promise<void> {
  const mounts = stack?.mounts.map(fields) ?? [];
  if (json) {
    const rootMounts = root && { image: rootImage, mounts: root.mounts.map(fields) };
    return printJson({
      stack: mounts,
      ...(rootMounts ? { root: rootMounts } : {}),
      liveLayers: environment.liveLayers,
    });
  }
  const lines = (place: string, all: readonly Mount[]) =>
    all.map(({ type, source, options }) => `${place} ${type} ${source} ${options.join(',')}`);
  return printLines([
    ...lines('/', root?.mounts ?? []),
    ...lines('/spfs', stack?.mounts ?? []),
    ...liveLines(environment),
  ]);
}

function liveLines({ liveLayers }: Environment): string[] {
  return liveLayers.flatMap(({ binds }) => binds.map(({ source, destination }) => `${destination} live ${source}`));
}

/** A message of the protocol has fields of its own beside these. */
function fields({ type, source, target, options }: Mount): Mount {
  return { type, source, target, options };
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
