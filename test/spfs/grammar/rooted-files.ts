import { realpath } from 'node:fs/promises';
import { hostSpecFiles, type SpecFiles } from '../../../src/spfs/grammar/index.js';

/** A folder of the host as if it were the root of all paths: fixtures can be written with the paths that people use. */
export async function rootedFiles(folder: string, cwd = '/shots'): Promise<SpecFiles> {
  const host = hostSpecFiles();
  const root = await realpath(folder);
  const inside = (path: string) => root + path;
  return {
    cwd,
    stat: (path) => host.stat(inside(path)),
    read: (path, mostBytes) => host.read(inside(path), mostBytes),
    realpath: async (path) => {
      const real = await host.realpath(inside(path));
      if (real !== undefined && real !== root && !real.startsWith(`${root}/`)) {
        throw new Error(`the fixture ${path} leads out of its folder`);
      }
      return real?.slice(root.length);
    },
  };
}
