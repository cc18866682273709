import type { LayerPlace } from '../../src/metadata/index.js';
import { decide, render, type Role } from '../../src/snapshots/serve.js';
import { RootPaths } from '../../src/snapshots/paths.js';
import { listedOldestFirst, type Mount } from '../../src/vocabulary.js';

/** One row of the table in docs/mounts.md: what a snapshot is asked for as, on what, and by which name the row goes. */
export interface Row {
  readonly name: string;
  /** As the table words it. */
  readonly asked: string;
  readonly role: Role;
  readonly layers: 0 | 1 | 3;
  /** Whether the chain has a merged image. */
  readonly merged: boolean;
}

export const rows: readonly Row[] = [
  {
    name: 'extract',
    asked: "Prepare, the key's last path part starts with `extract-`",
    role: 'extract',
    layers: 3,
    merged: false,
  },
  { name: 'empty-view', asked: 'View without a parent', role: 'view', layers: 0, merged: false },
  { name: 'single', asked: 'View of one layer', role: 'view', layers: 1, merged: false },
  { name: 'merged', asked: 'View of two layers or more', role: 'view', layers: 3, merged: true },
  { name: 'none + writable', asked: 'Prepare without a parent', role: 'container', layers: 0, merged: false },
  { name: 'single + writable', asked: 'Prepare on one layer', role: 'container', layers: 1, merged: false },
  { name: 'merged + writable', asked: 'Prepare on two layers or more', role: 'container', layers: 3, merged: true },
  { name: 'separate', asked: 'View of layers that cannot be merged', role: 'view', layers: 3, merged: false },
  {
    name: 'separate + writable',
    asked: 'Prepare on layers that cannot be merged',
    role: 'container',
    layers: 3,
    merged: false,
  },
];

const paths = new RootPaths('/srv/erofs');
/** Layer n lies in the folder of snapshot n; the new snapshot is number 9. */
const places: readonly LayerPlace[] = [1, 2, 3].map((id) => ({ id, file: `layer-${id}.erofs` }));

export const placesOf = ({ layers }: Row) => listedOldestFirst(places.slice(0, layers));

export function decisionOf(row: Row) {
  const { role, merged } = row;
  return decide({
    role,
    layers: placesOf(row),
    merged: merged ? { id: 3, plan: { rules: 'mkfs', inlays: [] } } : undefined,
  }).serve;
}

export function answerOf(row: Row): readonly Mount[] {
  return render(decisionOf(row), 9, paths);
}

/** The arm of `decide` that a row takes. */
export function armOf(row: Row): string {
  const serve = decisionOf(row);
  if (serve.shape !== 'image') return serve.shape;
  return serve.writable ? `${serve.image} + writable` : serve.image;
}

/** The table of docs/mounts.md, without its heading rows. */
export function tableLines(): readonly string[] {
  return rows.map((row) => `| ${row.name} | ${row.asked} | ${answerOf(row).map(worded).join('<br>')} |`);
}

function worded({ type, source, options }: Mount): string {
  const short = (path: string) =>
    path.replace('/srv/erofs/snapshots/9/', '').replace(/^\/srv\/erofs\/snapshots\/\d\//, '');
  return `\`${type}\` of \`${short(source)}\`: ${options.map((option) => `\`${optionWorded(option, short)}\``).join(', ')}`;
}

function optionWorded(option: string, short: (path: string) => string): string {
  return option.startsWith('device=') ? `device=${short(option.slice('device='.length))}` : option;
}
