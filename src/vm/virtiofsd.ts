import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

import { CodedError } from '../errors.js';
import { run } from '../host/index.js';
import type { PlannedProcess } from './options.js';
import type { Share } from './shares.js';

const program = 'virtiofsd';
/** Where distributions keep it, since it is not meant to be on PATH: Debian 13 and Fedora, Arch, Debian 12. */
const usualPlaces = ['/usr/libexec/virtiofsd', '/usr/lib/virtiofsd', '/usr/lib/qemu/virtiofsd'];
const helpMs = 5_000;
/** Of the former virtiofsd. */
const formerState = '/var/run/virtiofsd';

/**
 * The virtiofsd of this machine: the one of PATH, else that of the distribution.
 *
 * @param path folders, as PATH has them
 * @throws CodedError `unavailable` when there is none.
 */
export async function findVirtiofsd(path = process.env['PATH'] ?? ''): Promise<string> {
  const folders = path.split(delimiter).filter((folder) => folder.startsWith('/'));
  for (const place of [...folders.map((folder) => join(folder, program)), ...usualPlaces]) {
    if (await isExecutable(place)) return place;
  }
  throw new CodedError('unavailable', 'live layers need virtiofsd, and this machine has none', {
    next: 'install it (Debian 13 and later, Fedora: virtiofsd; Debian 12: qemu-system-common), or name it',
  });
}

async function isExecutable(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/**
 * Runs in a mount namespace of its own: shows each source, read-only and without what is mounted below it, under its number
 * in a folder that only this process tree sees, and becomes virtiofsd. With the processes, the mounts go.
 *
 * A path may lead elsewhere than when it was checked, so the mounted file is compared with the checked one, not the path: a
 * mount stays what it is.
 *
 * The former virtiofsd leaves a file for each socket in its state folder, so it gets a state folder of its own.
 */
const wrapper = `set -e
root=$1 state=$2
shift 2
mount -t tmpfs -o mode=700 tmpfs "$root"
number=0
while [ "$1" != -- ]; do
  if [ "$1" = folder ]; then mkdir "$root/$number"; else : >"$root/$number"; fi
  mount --bind -- "$3" "$root/$number" && [ "$(stat --format=%d:%i -- "$root/$number")" = "$2" ] || {
    echo "replaced $number" >&2
    exit 1
  }
  mount -o remount,bind,ro "$root/$number"
  number=$((number + 1))
  shift 3
done
shift
mount -o remount,ro "$root"
[ -z "$state" ] || { mkdir -p "$state" && mount -t tmpfs -o mode=700 tmpfs "$state"; }
exec "$@"
`;

export interface ShareServer {
  /** Path of virtiofsd. */
  readonly program: string;
  readonly socket: string;
  /** An existing empty folder. */
  readonly folder: string;
  /** The n-th becomes the entry n of what is shared. */
  readonly shares: readonly Share[];
  readonly signal?: AbortSignal;
}

/**
 * How virtiofsd is started: the two that exist, the one in C that QEMU had until 8.0 and the one in Rust, are told apart by
 * the options that they say they have.
 *
 * @throws CodedError what `run` throws when the program does not even print its help.
 */
export async function virtiofsdCommand(server: ShareServer): Promise<PlannedProcess> {
  const { stdout, stderr } = await run(server.program, ['--help'], { deadlineMs: helpMs, signal: server.signal });
  const help = stdout + stderr;
  const isCurrent = help.includes('--shared-dir');
  const options = isCurrent ? currentOptions(server.folder, help) : formerOptions(server.folder);
  const serve = [server.program, `--socket-path=${server.socket}`, ...options];
  const sources = server.shares.flatMap(({ kind, identity, source }) => [kind, identity, source]);
  const state = isCurrent ? '' : formerState;
  const script = ['sh', '-c', wrapper, program, server.folder, state, ...sources, '--', ...serve];
  return { program: 'unshare', argv: ['--mount', '--propagation', 'private', '--', ...script] };
}

/*
 * Nothing is cached in the guest: with virtiofsd's default, a file that grew on the host ends for up to a second where it
 * ended before, which is worse than being old.
 */

function currentOptions(folder: string, help: string): readonly string[] {
  const optional = ['--announce-submounts', '--readonly'].filter((option) =>
    new RegExp(`^ +${option}\\b`, 'm').test(help),
  );
  return [`--shared-dir=${folder}`, '--sandbox=namespace', '--cache=never', ...optional];
}

function formerOptions(folder: string): readonly string[] {
  return [`source=${folder}`, 'sandbox=namespace', 'cache=none', 'announce_submounts'].flatMap((o) => ['-o', o]);
}

/** What is printed instead when another file has taken a source's place: the number of the share. */
export const replacedMessage = /^replaced (\d+)$/m;

/** What both print once a QEMU may connect. */
export const readyMessage = 'Waiting for vhost-user socket connection';
