import { type Measurement, median, type Unit } from './samples.js';

/** How long each stage of Apply took for one layer, in milliseconds: the median over the rounds. */
export interface LayerStages {
  readonly digest: string;
  /** Bytes of the uncompressed layer. */
  readonly tarBytes: number;
  readonly stages: Readonly<Record<string, number>>;
}

/** Something that is not measured in this run, and why. `id` is that of the measurement, or its first part. */
export interface Unmeasured {
  readonly id: string;
  readonly reason: string;
}

/** The reason of what the user left out. */
export const notAsked = 'not part of this run';

/** Collects what the benchmarks find out, in the order in which they say what they measure. */
export class Results {
  readonly #measurements = new Map<string, { title: string; unit: Unit; samples: number[] }>();
  readonly #unmeasured: Unmeasured[] = [];
  #stages: readonly LayerStages[] = [];

  add(id: string, title: string, unit: Unit, value: number): void {
    const known = this.#measurements.get(id);
    if (known) known.samples.push(value);
    else this.#measurements.set(id, { title, unit, samples: [value] });
  }

  /** Says why a measurement is missing, or all whose ids begin with `id` and a dot. */
  notMeasured(id: string, reason: string): void {
    this.#unmeasured.push({ id, reason });
  }

  setStages(stages: readonly LayerStages[]): void {
    this.#stages = stages;
  }

  get measurements(): readonly Measurement[] {
    return [...this.#measurements].map(([id, rest]) => ({ id, ...rest }));
  }

  get unmeasured(): readonly Unmeasured[] {
    return this.#unmeasured;
  }

  get stages(): readonly LayerStages[] {
    return this.#stages;
  }

  /** The median of a measurement, or why there is none. */
  find(id: string): { readonly median: number } | { readonly reason: string } {
    const found = this.#measurements.get(id);
    if (found) return { median: median(found.samples) };
    const because = this.#unmeasured.find((entry) => id === entry.id || id.startsWith(`${entry.id}.`));
    return { reason: because?.reason ?? notAsked };
  }
}
