import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package.js';

const script = join(packageRoot(), 'scripts/setup.d/apt-sources.mjs');
const fixtures = join(import.meta.dirname, 'fixtures', 'apt-sources');

/** Each fixture is a folder like /etc/apt of a machine that runs bookworm. */
async function sourceOf(machine: string, suite: string, mirror = ''): Promise<string> {
  const args = [script, 'bookworm', suite, mirror, join(fixtures, machine)];
  return (await promisify(execFile)(process.execPath, args)).stdout;
}

describe('the apt source for a newer suite', () => {
  it('takes address and key from deb822 sources, past disabled, security and other vendors entries', async () => {
    expect(await sourceOf('deb822', 'forky')).toBe(
      'Types: deb\nURIs: http://mirror.invalid/debian\nSuites: forky\nComponents: main\nSigned-By: /keys/debian.gpg\n',
    );
  });

  it('takes address and key from one-line sources, in sources.list or beside it', async () => {
    expect(await sourceOf('one-line', 'forky')).toBe(
      'Types: deb\nURIs: https://mirror.invalid/debian/\nSuites: forky\nComponents: main\nSigned-By: /keys/debian.gpg\n',
    );
  });

  it('is this system’s own suite when none is asked for', async () => {
    expect(await sourceOf('deb822', '')).toContain('\nSuites: bookworm\n');
  });

  it('keeps a key that is written out in the source', async () => {
    expect(await sourceOf('inline-key', 'forky')).toBe(
      'Types: deb\nURIs: http://mirror.invalid/debian\nSuites: forky\nComponents: main\n' +
        'Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n -----END PGP PUBLIC KEY BLOCK-----\n',
    );
  });

  it('fails where no Debian mirror is named, unless one is given', async () => {
    await expect(sourceOf('none', 'forky')).rejects.toMatchObject({ code: 1 });
    expect(await sourceOf('none', 'forky', 'http://given.invalid/debian')).toContain(
      'URIs: http://given.invalid/debian\n',
    );
  });
});
