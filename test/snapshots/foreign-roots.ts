import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';

/** FNV-1a of 64 bits, by which a bbolt meta page is sealed. */
function fnv1a(bytes: Buffer): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

/** A bbolt database as go.etcd.io/bbolt initialises it: two meta pages, a freelist, an empty leaf. */
export function boltDatabase(): Buffer {
  const pageBytes = 4096;
  const file = Buffer.alloc(4 * pageBytes);
  const [branchMeta, freelist, leaf] = [0x04, 0x10, 0x02];
  [branchMeta, branchMeta, freelist, leaf].forEach((flags, page) => {
    file.writeBigUInt64LE(BigInt(page), page * pageBytes);
    file.writeUInt16LE(flags, page * pageBytes + 8);
  });
  for (const page of [0, 1]) {
    const meta = file.subarray(page * pageBytes + 16, page * pageBytes + 16 + 64);
    [0xed0cdaed, 2, pageBytes, 0].forEach((value, index) => meta.writeUInt32LE(value, index * 4));
    [3n, 0n, 2n, 4n, BigInt(page)].forEach((value, index) => meta.writeBigUInt64LE(value, 16 + index * 8));
    meta.writeBigUInt64LE(fnv1a(meta.subarray(0, 56)), 56);
  }
  return file;
}

async function fill(root: string, files: Readonly<Record<string, string | Buffer>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const target = join(root, path);
    await mkdir(path.endsWith('/') ? target : join(target, '..'), { recursive: true, mode: 0o700 });
    if (!path.endsWith('/')) await writeFile(target, content);
  }
}

async function fillLevelDb(folder: string, entries: Readonly<Record<string, string>>): Promise<void> {
  const level = new Level(folder);
  await level.batch(Object.entries(entries).map(([key, value]) => ({ type: 'put', key, value })));
  await level.close();
}

/** Makes what other programs and people keep in a folder that this program may be given as its root, by what it is. */
export const foreignRoots: Readonly<Record<string, (root: string) => Promise<unknown>>> = {
  'the Go snapshotter of the same name and default path': (root) =>
    fill(root, {
      'metadata.db': boltDatabase(),
      'snapshots/1/.erofslayer': '',
      'snapshots/1/fs/': '',
      'snapshots/1/layer.erofs': 'a layer',
      'snapshots/2/.erofslayer': '',
      'snapshots/2/fs/': '',
      'snapshots/2/sha256-0123.erofs': 'another layer',
      'snapshots/2/fsmeta.erofs': 'merged',
      'snapshots/2/merged.vmdk': '# Disk DescriptorFile',
      'snapshots/2/layers.manifest': 'blob:layer.erofs\n',
      'snapshots/3/.erofslayer': '',
      'snapshots/3/rwlayer.img': 'what a guest wrote',
      'snapshots/3/rw/': '',
    }),
  "containerd's own erofs snapshotter": (root) =>
    fill(root, {
      'metadata.db': boltDatabase(),
      'snapshots/1/.erofslayer': '',
      'snapshots/1/fs/': '',
      'snapshots/1/work/': '',
      'snapshots/1/layer.erofs': 'a layer',
      'snapshots/2/.erofslayer': '',
      'snapshots/2/fs/upper/file': 'what a container wrote',
      'snapshots/2/work/': '',
      'snapshots/new-1234567/.erofslayer': '',
    }),
  "containerd's erofs snapshotter before its first snapshot": (root) => fill(root, { 'snapshots/': '' }),
  'the same whose database was lost': (root) =>
    fill(root, { 'snapshots/1/.erofslayer': '', 'snapshots/1/fs/': '', 'snapshots/1/layer.erofs': 'a layer' }),
  'an overlayfs snapshotter': (root) =>
    fill(root, { 'metadata.db': boltDatabase(), 'snapshots/1/fs/bin/sh': '#!', 'snapshots/1/work/': '' }),
  'a program whose metadata.db is some other file': (root) =>
    fill(root, { 'metadata.db': 'SQLite format 3\0', 'snapshots/1/.erofslayer': '' }),
  'a program that keeps a LevelDB of its own there': async (root) => {
    await fill(root, { 'snapshots/1/.erofslayer': '', 'snapshots/1/fs/file': 'precious' });
    await fillLevelDb(join(root, 'metadata.db'), { '!meta!format': '1', other: 'value' });
  },
  'the store of spfs': async (root) => {
    await fill(root, { lock: '1\n' });
    await fillLevelDb(join(root, 'store.db'), { '!meta!format': '1' });
  },
  'a user': (root) => fill(root, { 'notes.txt': 'mine', 'photos/1.jpg': 'mine' }),
  'a user who also has a folder named trash': (root) => fill(root, { 'trash/letter.txt': 'mine', 'snapshots/': '' }),
};
