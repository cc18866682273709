import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CodedError } from '../../../src/errors.js';
import { parseEnvSpec, parseTagName, type EnvItem } from '../../../src/spfs/grammar/index.js';
import { parseTagSpec } from '../../../src/spfs/grammar/tag.js';
import { printEnvSpec, printTagSpec } from './print.js';
import { envItems, envTexts, tags, yamlTexts } from './arbitraries.js';
import { memoryFiles } from './memory-files.js';

const liveLayer = 'api: spfs/v0/livelayer\ncontents:\n  - bind: data\n    dest: game\n';
const files = memoryFiles({
  '/run.spfs.yaml': 'api: spfs/v0/runspec\nlayers: [base, AAAA, /live]\n',
  '/live/layer.spfs.yaml': liveLayer,
  '/live/data': '',
  '/my other/show.spfs.yaml': liveLayer.replace('data', '.'),
});

const liveItems = [
  { file: '/live/layer.spfs.yaml', binds: [{ source: '/live/data', destination: '/spfs/game' }] },
  { file: '/my other/show.spfs.yaml', binds: [{ source: '/my other', destination: '/spfs/game' }] },
].map((layer): EnvItem => ({ kind: 'live-layer', layer, source: { text: layer.file } }));

const meaning = (items: readonly EnvItem[]) => items.map((item) => ({ ...item, source: undefined }));

/** The error of a work that may only fail with one of ours; undefined when it did not. */
async function failureOf(work: () => unknown): Promise<CodedError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(CodedError);
    return error as CodedError;
  }
}

describe('what is printed', () => {
  it('reads back as the same tag', () => {
    fc.assert(
      fc.property(tags, (tag) => {
        expect(parseTagSpec(printTagSpec(tag))).toEqual(tag);
        expect(parseTagName(tag.name)).toBe(tag.name);
      }),
    );
  });

  it('reads back as the same items', async () => {
    const someItems = envItems(liveItems);
    await fc.assert(
      fc.asyncProperty(someItems, async (items) => {
        expect(meaning(await parseEnvSpec(printEnvSpec(items), files))).toEqual(meaning(items));
      }),
    );
  });

  it('reads back as the same items that any right text meant', async () => {
    await fc.assert(
      fc.asyncProperty(envTexts, async (text) => {
        const items = await parseEnvSpec(text, files).catch(() => undefined);
        fc.pre(items !== undefined);
        expect(meaning(await parseEnvSpec(printEnvSpec(items), files))).toEqual(meaning(items));
      }),
      { numRuns: 300 },
    );
  });
});

describe('an arbitrary text', () => {
  const printable = /^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]*$/u;

  it('as an env spec is read, or refused by an error of ours on one line', async () => {
    await fc.assert(
      fc.asyncProperty(envTexts, async (text) => {
        const error = await failureOf(() => parseEnvSpec(text, files));
        if (error === undefined) return;
        expect(error.message).toMatch(/^(env spec |\/)/);
        expect(error.advice).toMatch(printable);
        expect(error.next).toBeTruthy();
      }),
      { numRuns: 1000 },
    );
  });

  it('as a tag is read, or refused by an error of ours', async () => {
    await fc.assert(
      fc.asyncProperty(envTexts, async (text) => {
        const error = await failureOf(() => parseTagSpec(text));
        if (error === undefined) expect(parseTagSpec(printTagSpec(parseTagSpec(text)))).toEqual(parseTagSpec(text));
        else expect(error.message).toMatch(/^tag ".*"(, character \d+)?: /);
      }),
      { numRuns: 1000 },
    );
  });

  it('as a spec file is read, or refused by an error of ours that names the file and a line', async () => {
    await fc.assert(
      fc.asyncProperty(yamlTexts, async (text) => {
        const spec = '/projects/any.spfs.yaml';
        const error = await failureOf(() => parseEnvSpec(spec, memoryFiles({ [spec]: text, '/run.spfs.yaml': '' })));
        if (error === undefined) return;
        expect(error.message).toMatch(/^\/(projects\/any|run)\.spfs\.yaml:\d+:/);
        expect(error.advice).toMatch(printable);
      }),
      { numRuns: 2000 },
    );
  });

  it('as the bytes of a spec file is read, or refused by an error of ours', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        await failureOf(() => parseEnvSpec('/any.spfs.yaml', memoryFiles({ '/any.spfs.yaml': bytes })));
      }),
      { numRuns: 1000 },
    );
  });
});
