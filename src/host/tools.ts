import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { CodedError } from '../errors.js';

/**
 * Checks that a program is there without starting it.
 *
 * @param next what to do when it is missing, as `install e2fsprogs`.
 * @throws CodedError `unavailable` when no folder of PATH has it.
 */
export async function requireTool(tool: string, next: string): Promise<void> {
  if (await isOnPath(tool)) return;
  const path = process.env['PATH'] ?? '';
  throw new CodedError('unavailable', `${tool} is not on PATH`, { facts: { tool, path }, next });
}

/** True when a folder of PATH has the program. */
export async function isOnPath(tool: string): Promise<boolean> {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  for (const folder of folders) if (await isExecutable(join(folder, tool))) return true;
  return false;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
