import { readdir, readFile, realpath } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/package.js';
import { loadDescriptors } from '../../src/protocol/index.js';
import { requires } from '../harness/requires.js';
import { filesInProgram, filesOf, linesOf } from './descriptors.js';

/** What came after containerd 2.1. */
const newer = ['containerd.services.snapshots.v1.CommitSnapshotRequest.parent = 5: type 9'];

async function findContainerd(): Promise<string> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const names = await readdir(folder).catch(() => [] as string[]);
    if (names.includes('containerd')) return realpath(join(folder, 'containerd'));
  }
  throw new Error('containerd is not on PATH');
}

requires('containerd')('proto/', () => {
  it('has the names, numbers and types that containerd itself carries, and each of its services whole', async () => {
    const names = await readdir(join(packageRoot(), 'proto'), { recursive: true });
    const protos = names.filter((name) => name.endsWith('.proto'));
    const own = filesOf(loadDescriptors([], protos))
      .flatMap(linesOf)
      .filter((line) => line.startsWith('containerd.'));

    const program = await readFile(await findContainerd());
    const theirs = filesInProgram(program, 'github.com/containerd/containerd/api/').flatMap(linesOf);
    expect(theirs.length).toBeGreaterThan(300);
    expect(own.filter((line) => !theirs.includes(line) && !newer.includes(line))).toEqual([]);

    const isMethod = (line: string) => line.includes('(');
    const serviceOf = (line: string) => line.slice(0, line.lastIndexOf('.', line.indexOf('(')));
    const services = new Set(own.filter(isMethod).map(serviceOf));
    expect(services.size).toBe(7);
    const theirMethods = theirs.filter((line) => isMethod(line) && services.has(serviceOf(line)));
    expect(own.filter(isMethod).sort()).toEqual(theirMethods.sort());
  });
});
