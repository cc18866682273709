import { hostname, userInfo } from 'node:os';
import type { SpfsConfig } from './config/index.js';

/** Who stands in the history of a tag: `name@host`, unless the configuration says otherwise. */
export function currentUser({ userName, userDomain }: Pick<SpfsConfig, 'userName' | 'userDomain'>): string {
  return `${userName ?? nameOfProcess()}@${userDomain ?? hostname()}`;
}

/** A user id without an entry in the machine's list of users has no name. */
function nameOfProcess(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.geteuid?.() ?? 'unknown');
  }
}
