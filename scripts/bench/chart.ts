import type { Report } from './report.js';
import { quantity } from './report.js';

const width = 900;
const left = 410;
const right = 220;
const rowHeight = 26;
const colours = {
  ours: '#1f6f8b',
  theirs: '#b8bfc6',
  limit: '#a3341b',
  missed: '#c9703c',
  text: '#22272b',
  faint: '#69727a',
};
const font = 'font-family="Helvetica, Arial, sans-serif"';

interface Bar {
  readonly label: string;
  readonly value: number;
  readonly note: string;
  readonly colour: string;
  /** Least and most of the rounds. */
  readonly range?: readonly [number, number];
}

interface Panel {
  readonly title: string;
  readonly bars: readonly Bar[];
  /** Where a line is drawn, in the unit of the values. */
  readonly limit?: number;
}

/** A chart of two panels: the pulls with their spread, and each number that has a bar, as a share of it. */
export function renderChart(report: Report): string {
  const panels = [pullPanel(report), barsPanel(report)].filter(({ bars }) => bars.length > 0);
  let top = 40;
  const parts = panels.map((panel) => {
    const drawn = draw(panel, top);
    top += 46 + panel.bars.length * rowHeight;
    return drawn;
  });
  const { cpu, cores, filesystem } = report.machine;
  const { commit = '', containerd = '', node = '' } = report.versions;
  const about = [
    `${cpu}, ${cores} cores, ${filesystem}; Node.js ${node}, containerd ${containerd}; commit ${commit}; ${report.date.slice(0, 10)}`,
  ];
  const heading = text(16, 24, `erofs-snapshotter benchmark${report.run.quick ? ' (quick, small image)' : ''}`, {
    size: 17,
    weight: 'bold',
  });
  const footer = about.map((line) => text(16, top + 8, line, { size: 11, fill: colours.faint }));
  const height = top + 24;
  const frame = `<rect width="${width}" height="${height}" fill="#ffffff"/>`;
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`;
  return [open, frame, heading, ...parts.flat(), ...footer, '</svg>', ''].join('\n');
}

function pullPanel({ measurements, run }: Report): Panel {
  const bars = measurements
    .filter(({ id }) => id.startsWith('pull.'))
    .map(({ id, title, median, min, max, unit }): Bar => {
      const note = `${quantity(median, unit)} (${quantity(min, unit)} – ${quantity(max, unit)})`;
      return {
        label: title,
        value: median,
        note,
        colour: id === 'pull.ours' ? colours.ours : colours.theirs,
        range: [min, max],
      };
    });
  return { title: `Pull from a local registry: median of ${run.rounds} rounds, with least and most`, bars };
}

function barsPanel({ bars }: Report): Panel {
  const drawn = bars.flatMap(({ title, value, limit, unit, met }): Bar[] => {
    if (value === undefined) return [];
    const shown = (number: number) => (unit === 'ratio' ? number.toFixed(3) : quantity(number, unit));
    const note = `${shown(value)} of at most ${shown(limit)}`;
    // Of nothing, nothing is used, or far too much.
    const part = limit === 0 ? Math.min(value, 2) : value / limit;
    return [{ label: title, value: part, note, colour: met === true ? colours.ours : colours.missed }];
  });
  return { title: "The project's bars: how much of each is used (left of the line: met)", bars: drawn, limit: 1 };
}

function draw({ title, bars, limit }: Panel, top: number): string[] {
  const most = Math.max(limit ?? 0, ...bars.flatMap(({ value, range }) => [value, ...(range ?? [])]));
  // A number far beyond its limit must not squeeze all others to nothing.
  const end = limit === undefined ? most : Math.min(most, 2 * limit);
  const scale = (value: number) => (Math.min(value, end) / end) * (width - left - right);
  const first = top + 30;
  const rows = bars.flatMap(({ label, value, note, colour, range }, index) => {
    const y = first + index * rowHeight;
    const middle = y + 9;
    const whisker = range === undefined ? [] : whiskers(left + scale(range[0]), left + scale(range[1]), middle);
    const length = Math.max(1, scale(value));
    const furthest = scale(limit === undefined ? Math.max(value, range?.[1] ?? 0) : end);
    const more = value > end ? ' (bar cut off)' : '';
    return [
      text(left - 10, middle + 4, shortened(label), { anchor: 'end' }),
      `<rect x="${left}" y="${y}" width="${round(length)}" height="18" fill="${colour}"/>`,
      ...whisker,
      text(left + furthest + 8, middle + 4, `${note}${more}`, { fill: colours.faint, size: 11 }),
    ];
  });
  const x = round(left + scale(limit ?? 0));
  const bottom = first + bars.length * rowHeight - 4;
  const line =
    limit === undefined
      ? []
      : [
          `<line x1="${x}" y1="${first - 4}" x2="${x}" y2="${bottom}" stroke="${colours.limit}" stroke-width="1.5" stroke-dasharray="4 3"/>`,
        ];
  return [text(16, top + 14, title, { size: 13, weight: 'bold' }), ...rows, ...line];
}

function whiskers(from: number, to: number, y: number): string[] {
  const ends = [from, to].map(
    (x) => `<line x1="${round(x)}" y1="${y - 4}" x2="${round(x)}" y2="${y + 4}" stroke="${colours.text}"/>`,
  );
  return [`<line x1="${round(from)}" y1="${y}" x2="${round(to)}" y2="${y}" stroke="${colours.text}"/>`, ...ends];
}

interface TextStyle {
  readonly size?: number;
  readonly weight?: string;
  readonly anchor?: string;
  readonly fill?: string;
}

function text(x: number, y: number, content: string, style: TextStyle = {}): string {
  const { size = 12, weight = 'normal', anchor = 'start', fill = colours.text } = style;
  return `<text x="${round(x)}" y="${round(y)}" ${font} font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" fill="${fill}">${escaped(content)}</text>`;
}

const longest = 60;

function shortened(label: string): string {
  return label.length <= longest ? label : `${label.slice(0, longest - 1)}…`;
}

function round(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
