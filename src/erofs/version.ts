import { CodedError } from '../errors.js';
import { run } from '../host/index.js';

/** What the installed erofs-utils can be used for. */
export interface ErofsTools {
  /** As the tool names it: `1.9.4`, `1.8.10-g1a2b3c4`. */
  readonly version: string;
  /** Older versions bring deleted files back when they merge. */
  readonly canMerge: boolean;
}

type Version = readonly [major: number, minor: number, patch: number];

/** The first versions of erofs-utils that are safe to convert and to merge with. */
const minimumToConvert = '1.8.10';
export const minimumToMerge = '1.9.3';

/** Why versions before `minimumToConvert` are refused, for those where the cause is known. */
const knownBad: readonly { readonly version: RegExp; readonly because: string }[] = [
  { version: /^1\.7(\.|-|$)/, because: 'it damages file data silently' },
  { version: /^1\.8(\.[01])?(-|$)/, because: 'it crashes or writes damaged images' },
  { version: /^1\.8\.7(-|$)/, because: 'it loses whiteouts' },
  { version: /^1\.8\.8(-|$)/, because: 'it crashes or writes damaged images' },
];

/**
 * Asks mkfs.erofs for its version.
 *
 * @throws CodedError `unavailable` when it is not installed; `failed-precondition` when it is too old, known to damage
 *   data, or does not name its version.
 */
export async function checkErofsTools(o: { signal?: AbortSignal } = {}): Promise<ErofsTools> {
  const { stdout, stderr } = await askVersion(o.signal);
  return judgeVersion(stdout.trim() === '' ? stderr : stdout);
}

async function askVersion(signal: AbortSignal | undefined) {
  try {
    return await run('mkfs.erofs', ['--version'], { deadlineMs: 10_000, signal, what: 'asking for its version' });
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'unavailable') throw error;
    throw new CodedError('unavailable', error.message, {
      facts: error.facts,
      next: `install erofs-utils ${minimumToMerge} or later (${minimumToConvert} converts layers but cannot merge them)`,
      cause: error,
    });
  }
}

/** Decides on what `mkfs.erofs --version` printed. Pure. */
export function judgeVersion(output: string): ErofsTools {
  const match = /^mkfs\.erofs (?:\(erofs-utils\) )?v?((\d+)\.(\d+)(?:\.(\d+))?\S*)/m.exec(output);
  const next = `install erofs-utils ${minimumToMerge} or later`;
  if (match?.[1] === undefined) {
    const said = output.trim().split('\n')[0]?.slice(0, 100) ?? '';
    throw new CodedError('failed-precondition', `mkfs.erofs does not name its version: ${JSON.stringify(said)}`, {
      next,
    });
  }
  const version = match[1];
  const found: Version = [Number(match[2]), Number(match[3]), Number(match[4] ?? 0)];
  if (isBefore(found, minimumToConvert)) {
    const because = knownBad.find((bad) => bad.version.test(version))?.because ?? 'it is too old';
    const message = `mkfs.erofs ${version} cannot be used, since ${because}; erofs-utils ${minimumToConvert} is the oldest that can`;
    throw new CodedError('failed-precondition', message, {
      facts: { found: version, needed: minimumToConvert, neededToMerge: minimumToMerge },
      next,
    });
  }
  return { version, canMerge: !isBefore(found, minimumToMerge) };
}

function isBefore(found: Version, minimum: string): boolean {
  const needed = minimum.split('.').map(Number);
  for (const [index, part] of found.entries()) {
    const other = needed[index] ?? 0;
    if (part !== other) return part < other;
  }
  return false;
}
