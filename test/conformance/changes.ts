import { execFile } from 'node:child_process';
import { chmod, lchown, link, lutimes, mkdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { setXattr } from '../../src/host/index.js';
import { removeXattr } from '../host/remove-xattr.js';
import type { Change } from './chains.js';

const exec = promisify(execFile);

/** The steps that changes are made of. Modes hold whatever the umask is. */
export const file =
  (path: string, content: string | Buffer = `${path}\n`, mode = 0o644): Change =>
  async (root) => {
    await writeFile(join(root, path), content);
    await chmod(join(root, path), mode);
  };

export const folder =
  (path: string, mode = 0o755): Change =>
  async (root) => {
    await mkdir(join(root, path));
    await chmod(join(root, path), mode);
  };

export const gone =
  (path: string): Change =>
  (root) =>
    rm(join(root, path), { recursive: true });

export const moved =
  (from: string, to: string): Change =>
  (root) =>
    rename(join(root, from), join(root, to));

export const owner =
  (path: string, uid: number, gid: number): Change =>
  (root) =>
    lchown(join(root, path), uid, gid);

export const mode =
  (path: string, bits: number): Change =>
  (root) =>
    chmod(join(root, path), bits);

export const hardLink =
  (existing: string, path: string): Change =>
  (root) =>
    link(join(root, existing), join(root, path));

export const symbolicLink =
  (target: string, path: string): Change =>
  (root) =>
    symlink(target, join(root, path));

export const time =
  (path: string, seconds: number): Change =>
  (root) =>
    lutimes(join(root, path), seconds, seconds);

export const xattr =
  (path: string, name: string, value: string | Uint8Array): Change =>
  (root) => {
    setXattr(join(root, path), name, value);
    return Promise.resolve();
  };

export const noXattr =
  (path: string, name: string): Change =>
  (root) => {
    removeXattr(join(root, path), name);
    return Promise.resolve();
  };

export const fifo =
  (path: string): Change =>
  async (root) => {
    await exec('mkfifo', ['--mode=0622', join(root, path)]);
  };

export const device =
  (path: string, kind: 'c' | 'b', major: number, minor: number): Change =>
  async (root) => {
    await exec('mknod', ['--mode=0640', join(root, path), kind, String(major), String(minor)]);
  };

/** Node removes a socket's file when its server closes: so the file is moved away before. */
export const socket =
  (path: string): Change =>
  async (root) => {
    const temporary = join(dirname(join(root, path)), '.s');
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(temporary, resolve);
    });
    await rename(temporary, join(root, path));
    await new Promise((resolve) => server.close(resolve));
  };

export const sparseFile =
  (path: string, bytes: number): Change =>
  async (root) => {
    await writeFile(join(root, path), 'start');
    await truncate(join(root, path), bytes);
  };

/** A file capability, cap_net_raw=ep, as struct vfs_cap_data of version 2 in little-endian order. */
export const netRawCapability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
