import { isOnPath } from '../host/index.js';
import type { Compression } from './media-types.js';

/** A program that decompresses its standard input to its standard output. */
export interface DecompressionTool {
  readonly tool: string;
  readonly args: readonly string[];
}

/** Fastest first. igzip is of Intel's ISA-L (it runs on every amd64 and arm64), pigz decompresses on one core but reads and checks on others. */
const candidates: Readonly<Record<Exclude<Compression, 'none'>, readonly DecompressionTool[]>> = {
  gzip: [
    { tool: 'igzip', args: ['-dc'] },
    { tool: 'pigz', args: ['-dc'] },
  ],
  // Single-threaded zstd decompresses at disk speed already; without --long its memory stays below 128 MiB.
  zstd: [{ tool: 'zstd', args: ['-dcq'] }],
};

/** The fastest installed program, or undefined when there is none. */
export async function findDecompressionTool(
  compression: Exclude<Compression, 'none'>,
): Promise<DecompressionTool | undefined> {
  for (const candidate of candidates[compression]) if (await isOnPath(candidate.tool)) return candidate;
  return undefined;
}
