import type { Entry } from '../conformance/tree.js';
import type { ModelEntry, ModelTree } from './model.js';
import type { Outcome } from './world.js';

/** What the three snapshotters made of one image, and what the specification says, where the layers have such a meaning. */
export interface Hearing {
  readonly overlayfs: Outcome;
  readonly native: Outcome;
  readonly ours: Outcome;
  readonly model: ModelTree | 'refused' | undefined;
  /** When the hearing began, in milliseconds: times since then are the clock's, not a layer's. */
  readonly since: number;
}

/** One thing that a program sees otherwise in our snapshotter than it should. */
export interface Difference {
  /** Empty where the whole image differs. */
  readonly path: string;
  readonly field: keyof Entry | 'entry' | 'image';
  readonly right: unknown;
  readonly ours: unknown;
  readonly by: 'containerd' | 'specification';
}

/**
 * Layers that we refuse and containerd takes (decision 16), by what our refusal says. They would be mended on the way in, each into
 * something that no author of an image can have meant.
 */
const refusedByDecision = [
  /leads upwards/,
  /hides everything below the root/,
  /after an extended header that belongs to no entry/,
  /sparse file of the GNU format/,
  /no device has the number/,
  /is one that no file can have/,
  // On the root, whose attributes containerd does not read.
  /extended attribute \S+ has no name/,
];

const fields = ['type', 'mode', 'owner', 'mtime', 'content', 'xattrs', 'links'] as const;

/**
 * Compares what a program sees, field by field. Where containerd's overlayfs and native snapshotters agree, they are right; where they
 * differ or refuse, the specification is; without one nothing is said of that. Some things are the specification's alone, since
 * containerd leaves them out:
 *
 * - the root's own attributes, which it does not take from a layer;
 * - times, where the specification says one: containerd gives folders theirs at the end of a layer, by their names, and so to what
 *   has replaced a folder meanwhile, or to what a link there leads to; it gives none to folders that no layer describes, and 1970
 *   in place of times before 1970 and after 2262;
 * - attributes that this project keeps ({@link kept});
 * - hard links to what is no file, which a merged image has as several (docs/mounts.md).
 *
 * Nanoseconds of the first second of 1970 are lost: mkfs.erofs 1.9.4 forgets them (src/erofs/implied.ts). Attributes that are too
 * large for the file system below containerd say nothing of a layer.
 */
export function differences({ overlayfs, native, ours, model, since }: Hearing): Difference[] {
  const specification = model === 'refused' ? undefined : model;
  const whole = (right: string, seen: string): Difference[] => [
    { path: '', field: 'image', right, ours: seen, by: 'containerd' },
  ];
  const refusals = [overlayfs, native].flatMap((outcome) => ('refused' in outcome ? [outcome.refused] : []));
  const slipped = refusals.some(({ message }) => message.includes('failed call to UtimesNanoAt'));
  // containerd gives a folder its time at the end, also where the layer has replaced it by a link to nothing.
  const tooLarge = refusals.some(({ message }) =>
    /failed to setxattr .*(no space left|too long|too large)/s.test(message),
  );
  if (model === undefined && (refusals.length === 1 || slipped || tooLarge)) return [];
  const refusable = model === undefined ? refusals.length === 2 : 'refused' in overlayfs || model === 'refused';
  if ('refused' in ours) {
    const { code, message } = ours.refused;
    // Refusing is an answer where containerd refuses too, and then in words for the author of the image.
    const decided = refusedByDecision.some((words) => words.test(message));
    if ((refusable || decided) && code === 'invalid-argument') return [];
    return whole(refusable ? 'a refusal as invalid-argument' : 'a tree', `${code}: ${message}`);
  }
  if (specification === undefined && refusable) return whole(`refused: ${refusals[0]?.message}`, 'a tree');
  const judges = 'tree' in overlayfs && 'tree' in native ? [overlayfs.tree, native.tree] : [];
  const found: Difference[] = [];
  const paths = [...new Set([...judges, specification ?? {}, ours.tree].flatMap((tree) => Object.keys(tree)))].sort();
  for (const path of paths) {
    const [first, second] = judges.map((tree) => tree[path]);
    const agreed = judges.length > 0 && (first === undefined) === (second === undefined);
    const said = specification?.[path];
    const there = agreed ? first !== undefined : said !== undefined;
    const by = agreed ? 'containerd' : 'specification';
    const seen = ours.tree[path];
    if (there !== (seen !== undefined)) {
      const show = (entry: Entry | ModelEntry | undefined) => entry ?? 'nothing';
      found.push({ path, field: 'entry', right: there ? show(first ?? said) : 'nothing', ours: show(seen), by });
      continue;
    }
    if (seen === undefined) continue;
    for (const field of fields) {
      const right = rightOf(path, field, first, second, said, since, seen.xattrs);
      if (right === undefined || same(right.value, seen[field])) continue;
      if (field === 'links' && seen.type !== 'file') continue;
      if (field === 'mtime' && said === undefined && isOutside(seen.mtime)) continue;
      if (field === 'mtime' && seen.mtime === '0.000000000' && String(right.value).startsWith('0.')) continue;
      found.push({ path, field, right: right.value, ours: seen[field], by: right.by });
    }
  }
  return found;
}

interface Right {
  readonly value: unknown;
  readonly by: 'containerd' | 'specification';
}

function rightOf(
  path: string,
  field: (typeof fields)[number],
  first: Entry | undefined,
  second: Entry | undefined,
  said: ModelEntry | undefined,
  since: number,
  /** Ours: without a specification, what this project keeps is not judged. */
  keptHere: Entry['xattrs'],
): Right | undefined {
  const bySpecification = (): Right | undefined => {
    const value = said?.[field];
    return value === undefined ? undefined : { value, by: 'specification' };
  };
  if (field === 'xattrs' && said?.inherited) return undefined;
  if (path === '/') return bySpecification();
  if (first === undefined || second === undefined || !same(first[field], second[field])) return bySpecification();
  if (field === 'mtime' && said !== undefined) return bySpecification();
  if (field === 'mtime' && Number(first.mtime) * 1000 >= since) return undefined;
  if (field !== 'xattrs') return { value: first[field], by: 'containerd' };
  const theirs = Object.entries(first.xattrs).filter(([name]) => !kept.test(name));
  const saids = Object.entries(said?.xattrs ?? keptHere).filter(([name]) => kept.test(name));
  return { value: Object.fromEntries([...theirs, ...saids]), by: 'containerd' };
}

/**
 * Attributes that this project keeps and containerd drops (decision 16): of root's namespace, and the capability of a file that has a
 * second name in its layer, since the kernel takes it away when containerd gives the link its owner.
 */
const kept = /^(trusted\.|security\.capability$)/;

/** Whether containerd takes this time for 1970: what 64 bits of nanoseconds since then do not hold. */
function isOutside(mtime: string | undefined): boolean {
  return mtime !== undefined && (mtime.startsWith('-') || Number(mtime) * 1e9 >= 2 ** 63);
}

/** One line for a person. */
export function tell({ path, field, right, ours, by }: Difference): string {
  const short = (value: unknown) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return text.length > 300 ? `${text.slice(0, 300)}…` : text;
  };
  return `${JSON.stringify(path)} ${field}: ${short(ours)}, and by ${by} ${short(right)}`;
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Where the specification as modelled says otherwise than containerd's two snapshotters together: the model's own fault. */
export function modelFaults({ overlayfs, native, model }: Hearing): string[] {
  if (!('tree' in overlayfs) || !('tree' in native) || model === undefined || model === 'refused') return [];
  const faults: string[] = [];
  for (const path of new Set([...Object.keys(overlayfs.tree), ...Object.keys(model)])) {
    const [first, second, said] = [overlayfs.tree[path], native.tree[path], model[path]];
    if ((first === undefined) !== (second === undefined)) continue;
    if ((first === undefined) !== (said === undefined)) faults.push(`${path}: ${said ? 'only' : 'not'} in the model`);
    if (!first || !second || !said || path === '/') continue;
    for (const field of fields) {
      if (!same(first[field], second[field]) || same(first[field], said[field])) continue;
      if (field === 'mtime' || field === 'xattrs') continue;
      faults.push(`${path} ${field}: ${JSON.stringify(said[field])} and not ${JSON.stringify(first[field])}`);
    }
  }
  return faults;
}
