import fc from 'fast-check';
import type { EnvItem } from '../../../src/spfs/grammar/index.js';
import { parseTagSpec, type TagSpec } from '../../../src/spfs/grammar/tag.js';
import type { Digest } from '../../../src/vocabulary.js';

/** What fast-check makes of the parts of the grammar. */

export const digests: fc.Arbitrary<Digest> = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => `sha256:${Buffer.from(bytes).toString('hex')}` as const);

const tagNames = fc
  .array(fc.stringMatching(/^[A-Za-z0-9:._-]{1,12}$/), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join('/'))
  .filter((name) => !/(^|\/)\.\.?(\/|$)/.test(name) && name !== '-' && !name.endsWith('.spfs.yaml'));

export const tags: fc.Arbitrary<TagSpec> = fc.record({
  name: tagNames.filter((name) => !/^sha256:/i.test(name)),
  version: fc.oneof(fc.constant(0), fc.nat(), fc.constant(0xffff_ffff)),
});

const partials = fc.tuple(fc.stringMatching(/^[A-Z2-7]{1,51}$/), fc.stringMatching(/^={0,6}$/));

const digestItems = digests.map((digest): EnvItem => ({ kind: 'digest', digest, source: { text: digest } }));

const tagItems = tags.chain(({ name, version }) =>
  fc.constantFrom(`${name}~${version}`, version === 0 ? name : `${name}~0${version}`).map((text): EnvItem => {
    const partial = /^[A-Z2-7]{1,51}$/.test(text) ? { partial: text } : {};
    return { kind: 'reference', text, ...partial, tag: { name, version }, source: { text } };
  }),
);

const partialItems = partials.map(([partial, padding]): EnvItem => {
  const text = partial + padding;
  const tag = padding === '' ? { tag: parseTagSpec(text) } : {};
  return { kind: 'reference', text, partial, ...tag, source: { text } };
});

/** Items that stand in an env spec itself; a live layer is one of those in `liveLayers`. */
export const envItems = (liveLayers: readonly EnvItem[]): fc.Arbitrary<EnvItem[]> =>
  fc
    .tuple(
      fc.array(fc.oneof(digestItems, tagItems, partialItems), { maxLength: 8 }),
      fc.subarray([...liveLayers]),
      fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
    )
    .map(([items, live, random]) => {
      const mixed = [...items];
      for (const layer of live) {
        const at = Math.floor((random.next().value as number) * (mixed.length + 1));
        mixed.splice(at, 0, layer);
      }
      return mixed;
    });

/** Texts that resemble env specs enough to reach every corner of the parser. */
const crumbs = fc.constantFrom(
  ...[
    '+',
    '-',
    '~',
    '~1',
    '~-1',
    '/',
    '//',
    '.',
    '..',
    '=',
    '====',
    ' ',
    '\t',
    '\n',
    '\0',
    'a',
    'BASE',
    'é',
    '🎬',
    '\u202e',
  ],
  ...['/run.spfs.yaml', '/live', '/live/layer.spfs.yaml', '/nothing', 'x.spfs.yaml', 'sha256:', 'AAAA', '٣', '\ud800'],
);
export const envTexts = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc
    .array(fc.oneof({ weight: 4, arbitrary: crumbs }, { weight: 1, arbitrary: fc.string() }))
    .map((parts) => parts.join('')),
);

const yamlCrumbs = fc.constantFrom(
  ...['api: ', 'spfs/v0/runspec', 'spfs/v0/livelayer', 'v0/layer', 'layers:', 'contents:', 'bind: ', 'src: ', 'dest: '],
  ...[
    '\n',
    '\n  - ',
    '\n    ',
    '- ',
    ': ',
    '? ',
    '[',
    ']',
    '{',
    '}',
    ',',
    '"',
    "'",
    '|',
    '>',
    '&a ',
    '*a',
    '!x ',
    '%YAML 1.1\n',
  ],
  ...[
    '---\n',
    '...\n',
    '#',
    '\t',
    '\r',
    '\ufeff',
    '\0',
    '~',
    '<<: ',
    '1.10',
    'true',
    '.',
    '..',
    '/spfs',
    '/run.spfs.yaml',
  ],
);
export const yamlTexts = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.array(yamlCrumbs, { maxLength: 30 }).map((parts) => parts.join('')),
  fc.array(yamlCrumbs, { maxLength: 12 }).map((parts) => `api: spfs/v0/runspec\nlayers:\n  - ${parts.join('')}`),
  fc
    .array(yamlCrumbs, { maxLength: 12 })
    .map((parts) => `api: v0/layer\ncontents:\n  - bind: .\n    ${parts.join('')}`),
);
