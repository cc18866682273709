import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { SnapshotterError } from '../errors.js';

/**
 * Looks for a program without starting it.
 *
 * @param next what to do when it is missing, as `install e2fsprogs`.
 * @throws SnapshotterError `unavailable` when no folder of PATH has it.
 */
export async function requireTool(tool: string, next: string): Promise<void> {
  const path = process.env['PATH'] ?? '';
  for (const folder of path.split(delimiter)) {
    if (await isExecutable(join(folder, tool))) return;
  }
  throw new SnapshotterError('unavailable', `${tool} is not on PATH`, { facts: { tool, path }, next });
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
