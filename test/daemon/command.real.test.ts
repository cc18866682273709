import { describe, expect, test } from 'vitest';
import { flagOf, settings } from '../../src/config/index.js';
import { packageVersion } from '../../src/package.js';
import { Daemon } from './daemon.js';

describe('the command line', () => {
  test('--version prints the version', async () => {
    expect(await new Daemon(['--version']).ended).toEqual({ code: 0, stdout: `${packageVersion()}\n`, stderr: '' });
  });

  test('--help names every flag with its default and its variable', async () => {
    const { code, stdout } = await new Daemon(['--help']).ended;
    expect(code).toBe(0);
    const words = stdout.replace(/\s+/g, ' ');
    const shown = Object.values(settings).filter((setting) => flagOf(setting) !== undefined);
    expect(shown.map(flagOf)).toEqual([
      '--root',
      '--address',
      '--containerd-address',
      '--containerd-namespace',
      '--default-size',
      '--set-immutable',
      '--log-level',
      '--share-layers',
      '--guest-disks',
    ]);
    for (const setting of shown) {
      expect(words).toContain(`${flagOf(setting)} `);
      const variable = 'environment' in setting ? `, environment: ${setting.environment}` : '';
      expect(words).toContain(`${setting.meaning} (default: ${setting.default}${variable})`);
    }
    expect(words).toContain('--config <file>');
  });

  test.for([
    [['--bogus'], "unknown option '--bogus'"],
    [['extra'], 'too many arguments. Expected 0 arguments but got 1.'],
    [['--root'], "option '--root <folder>' argument missing"],
    [['--default-size', '64X'], 'flag --default-size: "64X" is not a size'],
    [['--config', '/no/such/file'], 'file /no/such/file cannot be read'],
  ] as const)('%j is a mistake of usage: one line, exit code 2', async ([args, message]) => {
    const { code, stdout, stderr } = await new Daemon(args).ended;
    expect({ code, stdout, lines: stderr.trimEnd().split('\n').length }).toEqual({ code: 2, stdout: '', lines: 1 });
    expect(stderr).toContain('erofs-snapshotter: ');
    expect(stderr).toContain(message);
  });
});
