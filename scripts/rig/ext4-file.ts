import { tool } from './process.js';

/** A file of an ext4 image, read without mounting it; undefined when it is not there. */
export async function readFromExt4(image: string, path: string): Promise<string | undefined> {
  const { stdout, stderr } = await tool('debugfs', ['-R', `cat "${path}"`, image]);
  return /File not found|not found by ext2_lookup/.test(stderr) ? undefined : stdout;
}
