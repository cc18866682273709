import { describe, expect, it } from 'vitest';
import { parseId, RootPaths } from '../../src/snapshots/paths.js';

const paths = new RootPaths('/var/lib/root/');

describe('paths below the root', () => {
  it.each([
    '/var/lib/root',
    '/var/lib/root/',
    '/var/lib/root/snapshots/1/fs',
    '/var/lib/root/snapshots/../snapshots/1',
    '/var/lib/root/..hidden',
    '/var/lib/root/...',
    '/var/lib/x/../root/snapshots',
    '//var//lib//root//x',
  ])('%j is inside', (path) => {
    expect(paths.contains(path)).toBe(true);
  });

  it.each([
    '/var/lib',
    '/var/lib/root-evil',
    '/var/lib/root-evil/snapshots/1/fs',
    '/var/lib/root/..',
    '/var/lib/root/../other',
    '/var/lib/root/snapshots/../../../etc',
    '/var/lib/rootsnapshots',
    '/',
    '/etc/passwd',
    '',
    'var/lib/root',
    // Another spelling of the same folder through a link is not the one that was answered.
    '/var/link-to-lib/root/snapshots/1/fs',
  ])('%j is outside', (path) => {
    expect(paths.contains(path)).toBe(false);
  });

  it.each([
    ['/var/lib/root/snapshots/7/fs', 7],
    ['/var/lib/root/snapshots/7/fs/', 7],
    ['/var/lib/root/snapshots/8/../7/fs', 7],
    ['/var/lib/root/snapshots/7/x/../fs', 7],
    ['/var/lib/root/snapshots/7', undefined],
    ['/var/lib/root/snapshots/7/fs/etc', undefined],
    ['/var/lib/root/snapshots/7/rw', undefined],
    ['/var/lib/root/snapshots/07/fs', undefined],
    ['/var/lib/root/snapshots/0/fs', undefined],
    ['/var/lib/root/snapshots/-1/fs', undefined],
    ['/var/lib/root/snapshots/7 /fs', undefined],
    ['/var/lib/root/trash/7/fs', undefined],
    ['/var/lib/root/snapshots/../../7/fs', undefined],
    ['/var/lib/root-evil/snapshots/7/fs', undefined],
    ['/snapshots/7/fs', undefined],
  ])('%j is the fs/ of snapshot %s', (path, id) => {
    expect(paths.idOfUpper(path)).toBe(id);
  });

  it('an id is a number of ours as we write it', () => {
    expect(['1', '42', '123456789012345'].map(parseId)).toEqual([1, 42, 123_456_789_012_345]);
    const foreign = ['', '0', '01', '1.0', '1e3', '+1', ' 1', '1234567890123456', '..', 'lost+found', undefined];
    expect(foreign.map(parseId)).toEqual(foreign.map(() => undefined));
  });

  it('a relative root is made absolute once, so that a later chdir changes nothing', () => {
    expect(new RootPaths('some/root').snapshot(3).writable).toBe(`${process.cwd()}/some/root/snapshots/3/rwlayer.img`);
  });
});
