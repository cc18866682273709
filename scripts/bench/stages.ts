import type { LayerStages } from './results.js';
import { median } from './samples.js';

/** One line of the daemon's log that says how long the stages of a layer took. */
interface LoggedLayer {
  readonly digest: string;
  readonly tarBytes: number;
  /** Milliseconds. */
  readonly stages: Readonly<Record<string, number>>;
}

const message = 'converted a layer';

/** The layers that the daemon says it has converted. Every number that it logs as `<stage>Ms` is a stage. */
export function loggedLayers(log: string): readonly LoggedLayer[] {
  return log.split('\n').flatMap((line) => {
    if (!line.includes(message)) return [];
    const entry = parse(line);
    if (typeof entry['digest'] !== 'string' || typeof entry['tarBytes'] !== 'number') return [];
    const stages: Record<string, number> = {};
    for (const [name, value] of Object.entries(entry)) {
      if (name.endsWith('Ms') && typeof value === 'number') stages[name.slice(0, -'Ms'.length)] = value;
    }
    return [{ digest: entry['digest'], tarBytes: entry['tarBytes'], stages }];
  });
}

/** Medians over all conversions of each layer; layers in the order of `digests`, those never converted left out. */
export function stagesOfLayers(logged: readonly LoggedLayer[], digests: readonly string[]): readonly LayerStages[] {
  return digests.flatMap((digest) => {
    const all = logged.filter((layer) => layer.digest === digest);
    const first = all[0];
    if (!first) return [];
    const stages = Object.keys(first.stages).map(
      (name) => [name, median(all.map((layer) => layer.stages[name] ?? 0))] as const,
    );
    return [{ digest, tarBytes: first.tarBytes, stages: Object.fromEntries(stages) }];
  });
}

/** A line that was cut off says nothing. */
function parse(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
}
