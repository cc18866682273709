import fc from 'fast-check';
import { type Item, join, type Style } from './items.js';

/** Layers by their meaning, oldest first, each with the way its odd values are written. */
export interface RandomImage {
  readonly layers: readonly (readonly Item[])[];
  readonly styles: readonly Style[];
}

/** Few names, so that layers meet; the odd ones are what tools have stumbled over. */
const name = fc.oneof(
  { weight: 24, arbitrary: fc.constantFrom('a', 'b', 'c') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      ...['-d', ' ', 'new\nline', 'back\\slash', '\xc3\xbc', '\xff\xfe', '.whx', '..a', 'wh.', '"', '*'],
      ...['n'.repeat(101), 'm'.repeat(155), 'x'.repeat(252), 'y'.repeat(255), '\xc3\xbc'.repeat(60)],
    ),
  },
);

const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));

const time = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 2_000_000_000 }).map((s) => ({ s, ns: 0 })) },
  {
    weight: 2,
    arbitrary: fc.record({
      s: fc.integer({ min: 0, max: 2_000_000_000 }),
      ns: fc.integer({ min: 1, max: 999_999_999 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      { s: -1, ns: 0 },
      { s: -86_400, ns: 500_000_000 },
      { s: 2 ** 31, ns: 0 },
      { s: 2 ** 33, ns: 1 },
    ),
  },
);

/** cap_net_raw=ep, as struct vfs_cap_data of version 2. */
const capability = '\x01\0\0\x02\0\x20\0\0' + '\0'.repeat(12);

const xattrs = fc.oneof(
  { weight: 5, arbitrary: fc.constant({}) },
  {
    weight: 2,
    arbitrary: fc
      .uniqueArray(
        fc.constantFrom<[string, string]>(
          ...([
            ['user.a', 'one'],
            ['user.b', 'two\n=3'],
            ['user.empty', ''],
            ['user.bytes', '\0\xff\x01'],
            ['user.long', 'v'.repeat(900)],
            ['user.\xc3\xbc', '\xc3\xa4'],
            ['user.overlay.opaque', 'y'],
            ['user.overlay.whiteout', 'y'],
            ['trusted.note', 'root only'],
            ['trusted.overlay.opaque', 'y'],
            ['trusted.overlay.redirect', '/a'],
            ['security.capability', capability],
          ] as [string, string][]),
        ),
        { maxLength: 3, selector: ([key]) => key },
      )
      .map((pairs) => Object.fromEntries(pairs)),
  },
);

const attributes = {
  mode: fc.oneof(fc.constantFrom(0o644, 0o755, 0o700), fc.integer({ min: 0, max: 0o7777 })),
  uid: fc.oneof(fc.constantFrom(0, 0, 1000), fc.constantFrom(65_534, 65_536, 4_294_967_294)),
  gid: fc.oneof(fc.constantFrom(0, 0, 1000), fc.constantFrom(100_000, 4_294_967_294)),
  time,
  xattrs,
};

const data = fc.oneof(
  fc.constantFrom('', 'x', 'old\n', 'new\n'),
  fc.integer({ min: 1, max: 9000 }).map((length) => 'd'.repeat(length)),
);

const kinds = {
  file: fc.record({ kind: fc.constant('file' as const), path, data, ...attributes }),
  folder: fc.record({ kind: fc.constant('folder' as const), path, ...attributes }),
  root: fc.record({ kind: fc.constant('folder' as const), path: fc.constant(''), ...attributes }),
  symlink: fc.record({
    kind: fc.constant('symlink' as const),
    path,
    target: fc.constantFrom('a', '/b/c', '../..', 'nowhere', 't'.repeat(101), '\xc3\xbc', '/'.repeat(300)),
    ...attributes,
  }),
  // The target is chosen among the entries before it.
  link: fc.record({ kind: fc.constant('link' as const), path, target: fc.nat(7).map(String), ...attributes }),
  fifo: fc.record({ kind: fc.constant('fifo' as const), path, ...attributes }),
  device: fc.record({
    kind: fc.constantFrom('char' as const, 'block' as const),
    path,
    device: fc.constantFrom<[number, number]>([1, 3], [5, 0], [259, 70_000], [4095, 1_048_575]),
    ...attributes,
  }),
  whiteout: fc.record({ kind: fc.constant('whiteout' as const), path }),
  opaque: fc.record({
    kind: fc.constant('opaque' as const),
    path: fc.array(name, { minLength: 1, maxLength: 2 }).map((names) => names.join('/')),
  }),
} satisfies Record<string, fc.Arbitrary<Item>>;

const item: fc.Arbitrary<Item> = fc.oneof(
  { weight: 8, arbitrary: kinds.folder },
  { weight: 7, arbitrary: kinds.file },
  { weight: 2, arbitrary: kinds.symlink },
  { weight: 2, arbitrary: kinds.link },
  { weight: 1, arbitrary: kinds.fifo },
  { weight: 1, arbitrary: kinds.device },
  { weight: 4, arbitrary: kinds.whiteout },
  { weight: 2, arbitrary: kinds.opaque },
  { weight: 1, arbitrary: kinds.root },
);

const items = fc.array(item, { minLength: 1, maxLength: 9 });
const styles = fc.array(fc.constantFrom<Style>('pax', 'pax', 'gnu'), { minLength: 6, maxLength: 6 });

function imageOf(layer: fc.Arbitrary<readonly Item[]>): fc.Arbitrary<RandomImage> {
  const layers = fc
    .array(layer, { minLength: 2, maxLength: 6 })
    .map(([first = [], ...others]) => [withoutOpaque(first), ...others]);
  return fc.record({ layers, styles });
}

/**
 * In a first layer containerd takes away what a folder holds that no entry describes, when an opaque marker follows; by the
 * specification, and here, markers hide older layers alone (decision 16). Elsewhere containerd's overlayfs keeps it too.
 */
function withoutOpaque(layer: readonly Item[]): readonly Item[] {
  return layer.filter(({ kind }) => kind !== 'opaque');
}

/** Most images are as archivers write them; the others stand for the ways in which tools and people are less tidy. */
export const randomImage: fc.Arbitrary<RandomImage> = fc.oneof(
  { weight: 3, arbitrary: imageOf(items.map((all) => sound(tidy(all)))) },
  {
    weight: 1,
    arbitrary: imageOf(
      fc.oneof(
        items.map(sound),
        items.map((all) => sound(tidy(all))),
      ),
    ),
  },
);

/** As archivers write layers: folders before what is in them, whiteouts first, and never of what the layer itself has. */
function tidy(items: readonly Item[]): readonly Item[] {
  const others = items.filter((item) => item.kind !== 'whiteout');
  const hides = (path: string) => others.some((item) => `${item.path}/`.startsWith(`${path}/`));
  const whiteouts = new Set(
    items.flatMap((item) => (item.kind === 'whiteout' && !hides(item.path) ? [item.path] : [])),
  );
  const described = new Set<string>(['']);
  const plain = { mode: 0o755, uid: 0, gid: 0, time: { s: 1_000_000_000, ns: 0 }, xattrs: {} };
  return [...[...whiteouts].map((path) => ({ kind: 'whiteout' as const, path })), ...others].flatMap((item) => {
    const added: Item[] = [];
    const isFolder = item.kind === 'folder' || item.kind === 'opaque';
    if (!isFolder && [...described].some((path) => path.startsWith(`${item.path}/`))) return [];
    const names = item.path.split('/');
    if (item.kind !== 'opaque') names.pop();
    for (const depth of names.keys()) {
      const path = names.slice(0, depth + 1).join('/');
      if (!described.has(path)) added.push({ kind: 'folder', path, ...plain });
      described.add(path);
    }
    if (item.kind === 'folder') described.add(item.path);
    return [...added, item];
  });
}

/** The layer without the entries that make it no tree: below what is no folder, or linked to what is no file of its own. */
function sound(items: readonly Item[]): readonly Item[] {
  const kept: Item[] = [];
  const own = new Map<string, Item['kind']>();
  for (const item of items) {
    const parts = item.path.split('/');
    const above = parts.slice(0, -1).map((_, depth) => parts.slice(0, depth + 1).join('/'));
    if (item.kind === 'opaque') above.push(item.path);
    if (above.some((path) => (own.get(path) ?? 'folder') !== 'folder')) continue;
    if (item.kind === 'whiteout' || item.kind === 'opaque') {
      kept.push(item);
      for (const path of above) own.set(path, 'folder');
      continue;
    }
    if (item.kind === 'link') {
      const targets = [...own].filter(([path, kind]) => kind !== 'folder' && path !== item.path).map(([path]) => path);
      const target = targets[Number(item.target) % Math.max(1, targets.length)];
      // A folder that is replaced takes what is below it along.
      if (target === undefined || target.startsWith(`${item.path}/`)) continue;
      own.set(item.path, own.get(target)!);
      kept.push({ ...item, target });
    } else {
      kept.push(item);
      own.set(item.path, item.kind);
    }
    for (const path of above) own.set(path, 'folder');
    if (item.kind === 'folder') continue;
    for (const path of [...own.keys()]) if (path.startsWith(join(item.path, ''))) own.delete(path);
  }
  return kept;
}
