import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writableLayerLimits } from '../../src/ext4/index.js';
import { CodedError, type ErrorCode } from '../../src/errors.js';
import { maxSizeLabel } from '../../src/snapshots/requests.js';
import type { Mount } from '../../src/vocabulary.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';
import { makeChain } from './crash-operations.js';
import { listingOf } from './root-listing.js';

type Call = (world: InProcessWorld) => Promise<unknown>;

interface BadCall {
  readonly title: string;
  readonly call: Call;
  readonly code: ErrorCode;
  /** A part of the message: what was given, and what is wrong with it. */
  readonly says: string;
}

const bind = (source: string): Mount => ({ type: 'bind', source, target: '', options: ['rbind', 'rw'] });
const { minimum, maximum } = writableLayerLimits;

const records: readonly BadCall[] = [
  {
    title: 'an unknown parent',
    call: ({ port }) => port.prepare('k', 'nothing'),
    code: 'not-found',
    says: '"nothing"',
  },
  {
    title: 'an unknown parent of a view',
    call: ({ port }) => port.view('k', 'nothing'),
    code: 'not-found',
    says: '"nothing"',
  },
  {
    title: 'an active parent',
    call: ({ port }) => port.prepare('k', 'old'),
    code: 'invalid-argument',
    says: 'is active',
  },
  {
    title: 'a view as parent',
    call: ({ port }) => port.view('k', 'old-view'),
    code: 'invalid-argument',
    says: 'is view',
  },
  { title: 'its own key as parent', call: ({ port }) => port.prepare('k', 'k'), code: 'not-found', says: '"k"' },
  { title: 'a taken key', call: ({ port }) => port.prepare('old', 'c1'), code: 'already-exists', says: '"old"' },
  { title: 'a key taken by a name', call: ({ port }) => port.view('c1', 'c1'), code: 'already-exists', says: '"c1"' },
  { title: 'a taken name', call: ({ port }) => port.commit('c1', 'old'), code: 'already-exists', says: '"c1"' },
  {
    title: 'the own key as name',
    call: ({ port }) => port.commit('old', 'old'),
    code: 'already-exists',
    says: '"old"',
  },
  {
    title: 'a commit of a view',
    call: ({ port }) => port.commit('n', 'old-view'),
    code: 'failed-precondition',
    says: 'not active',
  },
  {
    title: 'a commit of what is committed',
    call: ({ port }) => port.commit('n', 'c1'),
    code: 'failed-precondition',
    says: 'not active',
  },
  {
    title: 'a commit of nothing',
    call: ({ port }) => port.commit('n', 'nothing'),
    code: 'not-found',
    says: '"nothing"',
  },
  {
    title: 'another parent at Commit',
    call: ({ port }) => port.commit('n', 'old', { parent: 'c1' }),
    code: 'invalid-argument',
    says: 'stands on "c2"',
  },
  {
    title: 'a removal with children',
    call: ({ port }) => port.remove('c2'),
    code: 'failed-precondition',
    says: 'children',
  },
  { title: 'a removal of nothing', call: ({ port }) => port.remove('nothing'), code: 'not-found', says: '"nothing"' },
  {
    title: 'mounts of what is committed',
    call: ({ port }) => port.mounts('c1'),
    code: 'failed-precondition',
    says: 'no mounts',
  },
  {
    title: 'an update of the parent',
    call: ({ port }) => port.update('c1', {}, ['parent']),
    code: 'invalid-argument',
    says: '"parent"',
  },
  {
    title: 'an update of nothing',
    call: ({ port }) => port.update('nothing', {}),
    code: 'not-found',
    says: '"nothing"',
  },
  { title: 'a filter that is none', call: ({ port }) => port.list('name=='), code: 'invalid-argument', says: 'name==' },
];

const long = 'x'.repeat(10_000);
const longNames: readonly BadCall[] = [
  { title: 'Stat of a key of 10 kB', call: ({ port }) => port.stat(long), code: 'not-found', says: 'xxx…' },
  { title: 'Remove of a key of 10 kB', call: ({ port }) => port.remove(long), code: 'not-found', says: 'xxx…' },
  { title: 'Commit of a key of 10 kB', call: ({ port }) => port.commit('n', long), code: 'not-found', says: 'xxx…' },
  { title: 'a parent of 10 kB', call: ({ port }) => port.prepare('k', long), code: 'not-found', says: 'xxx…' },
];

const keys: readonly BadCall[] = [
  ['an empty key', '', 'empty'],
  ['a key of 10 kB', 'x'.repeat(10_000), '10000 bytes'],
  ['a key of 5 kB in few characters', '文'.repeat(1700), '5100 bytes'],
  ['a key with a NUL', 'a\0b', 'no key can'],
  ['a key that is no text', 'a\ud800b', 'no key can'],
].flatMap(([title = '', key = '', says = '']) => [
  { title, call: ({ port }: InProcessWorld) => port.prepare(key), code: 'invalid-argument' as const, says },
  {
    title: `${title}, viewed`,
    call: ({ port }: InProcessWorld) => port.view(key, 'c2'),
    code: 'invalid-argument' as const,
    says,
  },
  {
    title: `${title}, as name`,
    call: ({ port }: InProcessWorld) => port.commit(key, 'old'),
    code: 'invalid-argument' as const,
    says,
  },
]);

const labels: readonly BadCall[] = [
  ['a label that is too long', { long: 'x'.repeat(4096) }, '4100 bytes'],
  ['a label without a key', { '': 'x' }, 'empty key'],
  ['a label key that is no text', { 'a\ud800': 'x' }, 'unpaired surrogate'],
  ['a label value that is no text', { a: '\udc00x' }, 'unpaired surrogate'],
  [
    'labels that fit into no message',
    Object.fromEntries(Array.from({ length: 4000 }, (_, at) => [`l${at}`, 'x'.repeat(4000)])),
    'bytes together',
  ],
  ...['garbage', '-1', '', '1.5', '6e7', String(minimum - 1), String(maximum + 1), '9'.repeat(40)].map(
    (size) => [`a size of ${JSON.stringify(size)}`, { [maxSizeLabel]: size }, maxSizeLabel] as const,
  ),
].map(([title, given, says]) => ({
  title: title as string,
  call: ({ port }: InProcessWorld) => port.prepare('k', 'c2', given as Record<string, string>),
  code: 'invalid-argument',
  says: says as string,
}));

const mounts: readonly BadCall[] = [
  ['foreign mounts', () => [bind('/var/lib/other/snapshots/1/fs')], 'not-mine', 'not of this snapshotter'],
  ['no mounts', () => [], 'not-mine', 'not of this snapshotter'],
  [
    'a neighbour whose name begins like the root',
    (root: string) => [bind(`${root}-evil/snapshots/1/fs`)],
    'not-mine',
    'not of',
  ],
  ['the root left by ..', (root: string) => [bind(`${root}/../..`)], 'invalid-argument', 'outside'],
  [
    'the root left from deep inside',
    (root: string) => [bind(`${root}/snapshots/1/fs/../../../../etc`)],
    'invalid-argument',
    'outside',
  ],
  [
    'ours mixed with others',
    (root: string) => [bind(`${root}/snapshots/1/fs`), bind('/etc')],
    'invalid-argument',
    '"/etc"',
  ],
  ['the root itself', (root: string) => [bind(root)], 'invalid-argument', 'cannot be applied'],
  [
    'a folder inside fs/',
    (root: string) => [bind(`${root}/snapshots/1/fs/etc`)],
    'invalid-argument',
    'cannot be applied',
  ],
  [
    'two folders of ours',
    (root: string) => [bind(`${root}/snapshots/1/fs`), bind(`${root}/snapshots/2/fs`)],
    'invalid-argument',
    'cannot',
  ],
  [
    'a lower of another place under an upper of ours',
    (root: string) => [
      { type: 'overlay', source: 'overlay', target: '', options: [`upperdir=${root}/snapshots/1/fs`, 'lowerdir=/etc'] },
    ],
    'invalid-argument',
    '"/etc"',
  ],
  ['a snapshot that does not exist', (root: string) => [bind(`${root}/snapshots/77/fs`)], 'not-found', '77'],
  ['a committed snapshot', (root: string) => [bind(`${root}/snapshots/1/fs`)], 'failed-precondition', '"c1"'],
  ['a container', (root: string) => [bind(`${root}/snapshots/4/fs`)], 'failed-precondition', '"old"'],
].map(([title, given, code, says]) => ({
  title: `Apply to ${title as string}`,
  call: ({ snapshotter, root }: InProcessWorld) =>
    snapshotter.extractTarget((given as (root: string) => Mount[])(root)),
  code: code as ErrorCode,
  says: says as string,
}));

requires('mkfs.erofs', 'mkfs.ext4')(
  'bad input is refused with its code, with advice, and changes nothing on disk',
  () => {
    // One for all calls: each proves that it changed nothing.
    let world: InProcessWorld;
    beforeAll(async () => {
      world = await makeInProcessWorld();
      await makeChain(world.snapshotter);
    });
    afterAll(() => world.close());

    it.each([...records, ...longNames, ...keys, ...labels, ...mounts])(
      '$title: $code',
      async ({ call, code, says }) => {
        const [files, infos] = [await listingOf(world.root), await world.port.list()];
        const error = await call(world).then(
          () => undefined,
          (cause: unknown) => cause,
        );
        expect(error).toBeInstanceOf(CodedError);
        const failure = error as CodedError;
        expect(failure.code, failure.message).toBe(code);
        expect(failure.message).toContain(says);
        expect(failure.message.length).toBeLessThan(1000);
        // "Not mine" asks the next differ: there is nothing for a person to do.
        if (code !== 'not-mine') expect(failure.next).toMatch(/^[a-z].*[^.]$/);
        expect(await listingOf(world.root)).toEqual(files);
        expect(await world.port.list()).toEqual(infos);
      },
    );

    it('a mount list that spells the root through a link is not ours: it is not what was answered', async () => {
      const [answer] = await world.port.prepare('extract-5', '');
      const link = `${world.root}-link`;
      await symlink(world.root, link);
      const spelled = { ...answer!, source: join(link, answer!.source.slice(world.root.length)) };
      await expect(world.snapshotter.extractTarget([spelled])).rejects.toMatchObject({ code: 'not-mine' });
      await expect(world.snapshotter.extractTarget([answer!])).resolves.toMatchObject({});
    });

    it('the mounts that newer containerd makes of a lone bind are still ours', async () => {
      const [answer] = await world.port.prepare('extract-6', '');
      const overlay = { type: 'overlay', source: 'overlay', target: '', options: [`upperdir=${answer!.source}`] };
      await expect(world.snapshotter.extractTarget([overlay])).resolves.toMatchObject({});
    });
  },
);
