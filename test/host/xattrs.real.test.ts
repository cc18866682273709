import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { getXattr, listXattrs, setXattr } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from './temporary.js';

requires('root')('extended attributes', () => {
  test('attributes come back byte for byte, empty and large values too', async () => {
    const file = join(await temporaryFolder(), 'file');
    await writeFile(file, '');
    const value = Buffer.from([0, 255, 10, 0]);
    setXattr(file, 'trusted.overlay.opaque', 'y');
    setXattr(file, 'user.bytes', value);
    setXattr(file, 'user.empty', '');
    setXattr(file, 'user.large', Buffer.alloc(2000, 7));
    expect(listXattrs(file)).toEqual(['trusted.overlay.opaque', 'user.bytes', 'user.empty', 'user.large']);
    expect(getXattr(file, 'user.bytes')).toEqual(value);
    expect(getXattr(file, 'user.empty')).toEqual(Buffer.alloc(0));
    expect(getXattr(file, 'user.large')).toEqual(Buffer.alloc(2000, 7));
    expect(getXattr(file, 'user.missing')).toBeUndefined();
  });

  test('a symbolic link is asked itself, not what it points to', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'target'));
    await symlink('target', join(folder, 'link'));
    setXattr(join(folder, 'target'), 'trusted.of', 'target');
    setXattr(join(folder, 'link'), 'trusted.of', 'link');
    expect(getXattr(join(folder, 'link'), 'trusted.of')?.toString()).toBe('link');
    expect(getXattr(join(folder, 'target'), 'trusted.of')?.toString()).toBe('target');
  });

  test('paths may be bytes that are not UTF-8', async () => {
    const path = Buffer.concat([Buffer.from(`${await temporaryFolder()}/caf`), Buffer.from([0xe9])]);
    await writeFile(path, '');
    setXattr(path, 'user.x', '1');
    expect(listXattrs(path)).toEqual(['user.x']);
  });

  test('a name that is not UTF-8 is refused, since reading it under another name would lose it', async () => {
    const file = join(await temporaryFolder(), 'file');
    await writeFile(file, '');
    setXattr(file, Buffer.from('user.caf\xe9', 'latin1') as unknown as string, '1');
    expect(() => listXattrs(file)).toThrow('has a name that is not UTF-8');
  });

  test('a filesystem without attributes has none', () => {
    expect(listXattrs('/proc/self/status')).toEqual([]);
    expect(getXattr('/proc/self/status', 'user.x')).toBeUndefined();
  });

  test('a file that does not exist is ENOENT, with its path', () => {
    expect(() => listXattrs('/no/such/file')).toThrow("ENOENT: llistxattr '/no/such/file'");
  });
});
