import { CodedError } from '../errors.js';

/** What the guest runs. Strings go over as UTF-8; give a Uint8Array for other bytes. */
export interface GuestCommand {
  readonly argv: readonly (string | Uint8Array)[];
  readonly env?: Readonly<Record<string, string>>;
  /** Working directory inside the guest's root; default `/`. */
  readonly cwd?: string;
}

const defaultEnvironment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
};

/**
 * The shell lines that `guest/run` reads: the variables `cwd` and `PATH`, the command as the positional parameters, and a
 * function `start` that replaces the shell with the program in `$program`, given its arguments, in exactly the environment given.
 *
 * @throws CodedError `invalid-argument` for an empty command, a NUL byte, a variable without a name, a
 *   relative working directory.
 */
export function commandScript(command: GuestCommand): Buffer {
  const [program, ...rest] = command.argv;
  if (program === undefined || program.length === 0) throw refused('the command for the guest is empty');
  // The guest starts programs through env, which takes a word with "=" for a variable.
  if (Buffer.from(program).includes('=')) throw refused('the program for the guest has "=" in its name');
  if (command.cwd !== undefined && !command.cwd.startsWith('/')) {
    throw refused(`the working directory ${JSON.stringify(command.cwd)} is not absolute`, 'give an absolute path');
  }
  const environment = { ...defaultEnvironment, ...command.env };
  const assignments = Object.entries(environment).map(([name, value]) => {
    if (name === '' || name.includes('='))
      throw refused(`${JSON.stringify(name)} cannot name an environment variable`, 'give a name without "="');
    return quote(`${name}=${value}`);
  });
  return Buffer.concat([
    line('cwd=', quote(command.cwd ?? '/')),
    line('PATH=', quote(environment.PATH)),
    line('program=', quote(program)),
    line('set --', ...rest.flatMap((argument) => [' ', quote(argument)])),
    line('start() { exec "$busybox" env -i', ...assignments.flatMap((item) => [' ', item]), ' "$program" "$@"; }'),
  ]);
}

/** One line of a shell script. */
export function line(...parts: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat([...parts.map((part) => Buffer.from(part)), Buffer.from('\n')]);
}

/** One shell word for any bytes but NUL. @throws CodedError `invalid-argument` for a NUL byte. */
export function quote(text: string | Uint8Array): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.includes(0)) throw refused('the command for the guest has a NUL byte');
  // latin1 maps each byte to one character and back, so that the bytes survive whatever they encode.
  return Buffer.from(`'${bytes.toString('latin1').replaceAll("'", `'\\''`)}'`, 'latin1');
}

function refused(message: string, next = 'give a program, then its arguments'): CodedError {
  return new CodedError('invalid-argument', message, { next });
}
