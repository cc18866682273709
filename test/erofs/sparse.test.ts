import { expect, it } from 'vitest';
import { planFor } from '../../src/erofs/sparse.js';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

it.each([
  ['no holes', { apparentBytes: 9 * MiB, bytes: 9 * MiB, holes: 0, largest: 9 * MiB }, false, 9 * MiB],
  ['mostly holes', { apparentBytes: 9 * MiB, bytes: MiB, holes: 8 * MiB, largest: 9 * MiB }, true, MiB],
  [
    'more data than holes',
    { apparentBytes: 9 * MiB, bytes: 5 * MiB, holes: 4 * MiB, largest: 9 * MiB },
    false,
    9 * MiB,
  ],
  ['a file of 4 GiB', { apparentBytes: 4 * GiB, bytes: MiB, holes: 4 * GiB, largest: 4 * GiB }, true, MiB],
  ['a larger file', { apparentBytes: 5 * GiB, bytes: MiB, holes: 5 * GiB, largest: 5 * GiB }, false, 5 * GiB],
])(
  'a directory with %s is converted without writing its holes where that is sound',
  (_, files, chunks, writtenBytes) => {
    expect(planFor(files)).toEqual({ chunks, writtenBytes });
  },
);
