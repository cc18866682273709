import { readFileSync } from 'node:fs';

const replacement = '\ufffd';

/**
 * The bytes of an argument. Node reads the command line as UTF-8 and loses bytes that are none; the kernel still has them.
 *
 * @param argument as it stands in `process.argv`
 */
export function bytesOfArgument(argument: string): Buffer {
  if (!argument.includes(replacement)) return Buffer.from(argument);
  const given = readFileSync('/proc/self/cmdline').toString('latin1').split('\0');
  const found = given.map((bytes) => Buffer.from(bytes, 'latin1')).find((bytes) => bytes.toString() === argument);
  return found ?? Buffer.from(argument);
}
