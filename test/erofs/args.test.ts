import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { convertDirectoryArguments, convertTarArguments, mergeArguments } from '../../src/erofs/args.js';
import { inOrder } from './images.js';

const uuid = '6f1c41b6-8f4b-5a2e-9d2b-0a4a2a0f3f10';

/** One argument a line. */
const fixture = async (name: string) =>
  (await readFile(new URL(`fixtures/${name}.argv`, import.meta.url), 'utf8')).split('\n').slice(0, -1);

describe('the arguments of mkfs.erofs', () => {
  it('for a tar in a file', async () => {
    const args = convertTarArguments({ output: '/out.erofs', uuid, tar: '/layer.tar' });
    expect(args).toEqual(await fixture('convert-tar-file'));
  });

  it('for a tar on standard input', async () => {
    expect(convertTarArguments({ output: '/out.erofs', uuid })).toEqual(await fixture('convert-tar-input'));
  });

  it('for a directory', async () => {
    const args = convertDirectoryArguments({ output: '/out.erofs', uuid, directory: '/upper' });
    expect(args).toEqual(await fixture('convert-directory'));
  });

  it('for merging, with the layers oldest first', async () => {
    const layers = inOrder('/oldest.erofs', '/middle.erofs', '/newest.erofs');
    expect(mergeArguments({ output: '/fsmeta.erofs', layers })).toEqual(await fixture('merge'));
  });
});
