import { describe, expect, it } from 'vitest';
import { writableLayerLimits } from '../../src/ext4/index.js';
import {
  isQuiesced,
  maxSizeLabel,
  roleOfPrepare,
  updatedLabels,
  writableBytesOf,
} from '../../src/snapshots/requests.js';
import { quiescedLabel } from '../../src/vocabulary.js';
import { codeOf } from '../conformance/world.js';

function codeFrom(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return codeOf(error);
  }
}

describe('what a key asks for', () => {
  it.each([
    ['extract-1 sha256:abc', 'extract'],
    ['ns/12/extract-1700000000-AbCd sha256:abc', 'extract'],
    ['../../extract-', 'extract'],
    ['ns/12/container', 'container'],
    ['extract-1/container', 'container'],
    ['ns/12/my-extract-1', 'container'],
    ['ns/12/EXTRACT-1', 'container'],
    ['extract', 'container'],
    ['ns/extract-x/', 'container'],
  ])('%j is a key of role %s', (key, role) => {
    expect(roleOfPrepare(key)).toBe(role);
  });
});

describe('the size of a writable layer', () => {
  const sizeOf = (text: string) => codeFrom(() => writableBytesOf({ [maxSizeLabel]: text }, writableLayerLimits));
  const { minimum, maximum } = writableLayerLimits;

  it('is not the label’s when there is none', () => {
    expect(writableBytesOf({}, writableLayerLimits)).toBeUndefined();
  });

  it.each([String(minimum), String(maximum), '67108864', '0067108864'])('%s is bytes', (text) => {
    expect(sizeOf(text)).toBe(Number(text));
  });

  it.each([
    ...['', ' ', '64M', '1e9', '-67108864', '67108864.0', '0x4000000', ' 67108864', '67108864\n', 'NaN', 'Infinity'],
    ...['0', String(minimum - 1), String(maximum + 1), '9'.repeat(30), '６７１０８８６４'],
  ])('%j is refused', (text) => {
    expect(sizeOf(text)).toBe('invalid-argument');
  });
});

describe('the quiesced label', () => {
  it.each([
    ['true', true],
    ['false', false],
    ['1', false],
    ['True', false],
    ['', false],
  ])('%j means %s', (value, expected) => {
    expect(isQuiesced({ [quiescedLabel]: value })).toBe(expected);
  });
});

describe('the labels after an Update', () => {
  const current = { a: '1', b: '2', 'containerd.io/gc.root': 'now' };

  it.each([
    ['no mask replaces all', { c: '3' }, [], { c: '3' }],
    ['no mask and no labels removes all', {}, [], {}],
    ['"labels" replaces all', { c: '3' }, ['labels'], { c: '3' }],
    ['"labels.<key>" sets one', { a: '9', c: '3' }, ['labels.a'], { ...current, a: '9' }],
    ['"labels.<key>" removes the one that is not given', {}, ['labels.b'], { a: '1', 'containerd.io/gc.root': 'now' }],
    ['a key may hold dots and slashes', {}, ['labels.containerd.io/gc.root'], { a: '1', b: '2' }],
    ['paths apply one after the other', { a: '9' }, ['labels', 'labels.a'], { a: '9' }],
    ['a key that is not there is removed without complaint', {}, ['labels.zzz'], current],
    ['no mask keeps no empty value', { a: '', c: '3' }, [], { c: '3' }],
    ['"labels" keeps no empty value', { a: '', c: '3' }, ['labels'], { c: '3' }],
    [
      '"labels.<key>" with an empty value removes it',
      { a: '' },
      ['labels.a'],
      { b: '2', 'containerd.io/gc.root': 'now' },
    ],
  ] as const)('%s', (_title, given, paths, expected) => {
    expect(updatedLabels(current, given, paths)).toEqual(expected);
  });

  it.each([['parent'], ['name'], ['kind'], ['labels.'], [''], ['Labels'], ['labels.a', 'parent'], ['created_at']])(
    'the mask %j is refused',
    (...paths) => {
      expect(codeFrom(() => updatedLabels(current, { a: '9' }, paths))).toBe('invalid-argument');
      expect(current.a).toBe('1');
    },
  );
});
