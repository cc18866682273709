import { open } from 'node:fs/promises';
import { seekData, seekHole } from './libc.js';

export interface Region {
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly length: number;
}

/** The parts of a file that are not holes, in order. A filesystem without holes answers one region: the file. */
export async function dataRegions(path: string): Promise<Region[]> {
  const file = await open(path, 'r');
  try {
    return dataRegionsOf(file.fd);
  } finally {
    await file.close();
  }
}

/** The same of an open file, whose position it moves. */
export function dataRegionsOf(fd: number): Region[] {
  const regions: Region[] = [];
  let from = seekData(fd, 0);
  while (from !== undefined) {
    const end = seekHole(fd, from);
    regions.push({ offset: from, length: end - from });
    from = seekData(fd, end);
  }
  return regions;
}
