import { expect, it } from 'vitest';
import { unknownImage } from '../../../src/spfs/import/image-names.js';

const known = [
  'docker.io/library/debian:13',
  'registry.example:5000/studio/tools:v1',
  'registry.example/other@sha256:0',
];
const similar = (name: string) => unknownImage(name, 'n', known).facts['similar'] ?? [];

it.each([
  ['debian', known[0]],
  ['debian:12', known[0]],
  ['docker.io/library/debian', known[0]],
  ['docker.io/library/debain:13', known[0]],
  ['tools', known[1]],
  ['studio/tools:v1', known[1]],
  ['registry.example:5000/studio/tools', known[1]],
  ['elsewhere.example/other:latest', known[2]],
])('%s may have been meant as %s', (name, meant) => {
  expect(similar(name)).toEqual([meant]);
});

it.each(['example', 'tool', 'library', ''])('%s is like none', (name) => {
  expect(similar(name)).toEqual([]);
});

it('shows five names at most', () => {
  const many = Array.from({ length: 9 }, (_, at) => `registry.example/tools:v${at}`);
  expect(unknownImage('tools', 'n', many).facts['similar']).toHaveLength(5);
});
