import { type Verdict, judge } from './bars.js';
import type { Machine, Versions } from './machine.js';
import { type LayerStages, notAsked, type Results, type Unmeasured } from './results.js';
import { type Measurement, spread, type Spread } from './samples.js';

/** All that one run found out: what the JSON file holds, and what tables and charts are made of. */
export interface Report {
  /** ISO 8601. */
  readonly date: string;
  readonly run: RunDescription;
  readonly machine: Machine;
  readonly versions: Versions;
  readonly bars: readonly Verdict[];
  readonly measurements: readonly (Measurement & Spread)[];
  readonly stages: readonly LayerStages[];
  readonly unmeasured: readonly Unmeasured[];
}

export interface RunDescription {
  readonly rounds: number;
  readonly quick: boolean;
  /** Benchmarks that ran. */
  readonly parts: readonly string[];
  readonly image: {
    readonly name: string;
    /** Compressed bytes of each layer, oldest first. */
    readonly layers: readonly number[];
  };
}

export function makeReport(results: Results, about: Pick<Report, 'date' | 'run' | 'machine' | 'versions'>): Report {
  return {
    ...about,
    bars: judge(results),
    measurements: results.measurements.map((measurement) => ({ ...measurement, ...spread(measurement.samples) })),
    stages: results.stages,
    unmeasured: results.unmeasured,
  };
}

export interface Table {
  readonly title: string;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

function tablesOf(report: Report): readonly Table[] {
  const { measurements, stages } = report;
  const bars = report.bars.filter(({ reason }) => reason !== notAsked);
  const tables: Table[] = [
    {
      title: 'Against the bars',
      headings: ['what', 'ours', 'against', 'found', 'bar', ''],
      rows: bars.map((bar) => barRow(bar, measurements)),
    },
    {
      title: 'Everything measured',
      headings: ['what', 'median', 'least', 'most', 'rounds'],
      rows: measurements.map(({ title, unit, median, min, max, samples }) => [
        title,
        ...[median, min, max].map((value) => quantity(value, unit)),
        `${samples.length}`,
      ]),
    },
  ];
  if (stages.length > 0) tables.push(stageTable(stages));
  const missing = bars.flatMap(({ title, reason }) => (reason === undefined ? [] : [[title, reason]]));
  if (missing.length > 0) tables.push({ title: 'Not measured', headings: ['what', 'why'], rows: missing });
  return tables;
}

function barRow(bar: Verdict, measurements: Report['measurements']): string[] {
  const { unit } = bar;
  const shown = (value: number) => (unit === 'ratio' ? value.toFixed(3) : quantity(value, unit));
  const limit = `${shown(bar.limit)}${bar.aim === undefined ? '' : ` (aim ${shown(bar.aim)})`}`;
  if (bar.value === undefined) return [bar.title, '', '', '', limit, 'not measured'];
  const medians = bar.of.map((id) => {
    const found = measurements.find((measurement) => measurement.id === id);
    return found ? quantity(found.median, found.unit) : '';
  });
  // A number without a peer stands alone.
  const against = bar.unit === 'ratio' ? (medians.at(-1) ?? '') : '';
  const ours = bar.of.length === 3 ? `${medians[0]} − ${medians[1]}` : (medians[0] ?? '');
  return [bar.title, ours, against, shown(bar.value), limit, bar.met === true ? 'met' : 'MISSED'];
}

function stageTable(stages: readonly LayerStages[]): Table {
  const names = [...new Set(stages.flatMap((layer) => Object.keys(layer.stages)))];
  const rows = stages.map(({ tarBytes, stages: times }, index) => {
    const values = names.map((name) => times[name]);
    const total = values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
    const cells = [...values, total].map((value) => (value === undefined ? '' : quantity(value, 'ms')));
    return [`${index + 1}`, quantity(tarBytes, 'bytes'), ...cells];
  });
  return { title: 'Stages of Apply (medians)', headings: ['layer', 'tar', ...names, 'together'], rows };
}

/** `1.23 s`, `45.6 ms`, `78.9 MB`: three digits, units of 1000. */
export function quantity(value: number, unit: Measurement['unit']): string {
  if (unit === 'count') return `${value}`;
  const [scaled, name] = unit === 'ms' ? time(value) : bytes(value);
  const digits = scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2;
  return `${scaled.toFixed(digits)} ${name}`;
}

function time(milliseconds: number): [number, string] {
  return milliseconds >= 1000 ? [milliseconds / 1000, 's'] : [milliseconds, 'ms'];
}

function bytes(value: number): [number, string] {
  if (value >= 1e9) return [value / 1e9, 'GB'];
  return value >= 1e6 ? [value / 1e6, 'MB'] : [value / 1e3, 'kB'];
}

/** What was measured where, a line each. */
function preface({ date, run, machine, versions }: Report): readonly string[] {
  const { cpu, cores, memory, kernel, filesystem, cachesDropped, loadBefore } = machine;
  const layers = run.image.layers.map((size) => quantity(size, 'bytes')).join(', ');
  const caches = cachesDropped
    ? 'page cache emptied before each pull'
    : 'page cache kept (the kernel does not let it be emptied)';
  return [
    `date: ${date}; rounds: ${run.rounds}${run.quick ? '; quick, so with a small image: the bars are those of the big one' : ''}`,
    `machine: ${cpu}, ${cores} cores, ${quantity(memory, 'bytes')}, Linux ${kernel}, ${filesystem}; load before: ${loadBefore.toFixed(2)}; ${caches}`,
    `versions: ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}`,
    `image: ${run.image.name}, layers of ${layers} (compressed)`,
  ];
}

export function renderText(report: Report): string {
  const tables = tablesOf(report).map(({ title, headings, rows }) => {
    const widths = headings.map((heading, column) =>
      Math.max(heading.length, ...rows.map((row) => (row[column] ?? '').length)),
    );
    const line = (cells: readonly string[]) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd();
    return [`== ${title}`, line(headings), ...rows.map(line)].join('\n');
  });
  return `${[preface(report).join('\n'), ...tables].join('\n\n')}\n`;
}

/** @param chart path of the chart, as the document links it. */
export function renderMarkdown(report: Report, chart: string): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const row = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  const tables = tablesOf(report).map(({ title, headings, rows }) =>
    [`## ${title}`, '', row(headings), row(headings.map(() => '---')), ...rows.map(row)].join('\n'),
  );
  const facts = preface(report)
    .map((line) => `- ${line}`)
    .join('\n');
  const head = '# Benchmark result\n\nWritten by `npm run bench`; see [README.md](README.md) for what the rows mean.';
  return `${[head, facts, `![chart](${chart})`, ...tables].join('\n\n')}\n`;
}
