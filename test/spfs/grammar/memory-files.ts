import { normalize } from 'node:path';
import type { SpecFiles } from '../../../src/spfs/grammar/index.js';

/** Files that are texts or bytes by path; their folders are there too. Without symlinks. */
export function memoryFiles(files: Readonly<Record<string, string | Uint8Array>> = {}, cwd = '/shots'): SpecFiles {
  const folders = new Set(Object.keys(files).flatMap(foldersAbove));
  const known = (path: string) => Object.hasOwn(files, normal(path)) || folders.has(normal(path));
  const bytes = (path: string) => Buffer.from(files[normal(path)] ?? '');
  return {
    cwd,
    stat: (path) => {
      if (!known(path)) return Promise.resolve(undefined);
      const kind = Object.hasOwn(files, normal(path)) ? 'file' : 'directory';
      return Promise.resolve({ kind, size: bytes(path).length });
    },
    read: (path, mostBytes) => Promise.resolve(bytes(path).subarray(0, mostBytes)),
    realpath: (path) => Promise.resolve(known(path) ? normal(path) : undefined),
  };
}

function normal(path: string): string {
  return normalize(path).replace(/(?<=.)\/$/, '');
}

function foldersAbove(path: string): string[] {
  const parts = path.split('/');
  return parts.map((_, index) => parts.slice(0, index).join('/') || '/');
}
