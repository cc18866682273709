/** Blocks are 4 KiB at every size: with smaller ones a guest cannot store large xattrs or long symlinks. */
export const blockSize = 4096;

/**
 * Spelled out, so that neither the version of e2fsprogs nor the host's mke2fs.conf decides. A guest kernel of 4.4 or later
 * mounts them all. `metadata_csum_seed` lets every file have a UUID of its own without new checksums everywhere.
 */
const features = [
  'none',
  'has_journal',
  'ext_attr',
  'dir_index',
  'filetype',
  'extent',
  '64bit',
  'flex_bg',
  'sparse_super',
  'large_file',
  'huge_file',
  'dir_nlink',
  'extra_isize',
  'metadata_csum',
  'metadata_csum_seed',
];

/**
 * What mke2fs reads instead of the host's mke2fs.conf. It picks one of the last four by size, whatever `-t` says, and complains
 * when it is not defined.
 */
export const mke2fsConfig = `[defaults]
  enable_periodic_fsck = 0
  default_mntopts = acl,user_xattr
[fs_types]
  ext4 = {
    hash_alg = half_md4
  }
  floppy = {
    errors = continue
  }
  small = {
    errors = continue
  }
  big = {
    errors = continue
  }
  huge = {
    errors = continue
  }
`;

/** Arguments that format the existing file `image`, whole, with a copy of the tree `source` at its root. */
export function formatArguments(o: { image: string; source: string }): string[] {
  return [
    ...['-q', '-F', '-t', 'ext4', '-b', String(blockSize), '-I', '256', '-i', '16384', '-m', '0'],
    ...['-O', features.join(',')],
    // Nothing is written that reads as zero in a sparse file anyway; the guest's kernel initialises the rest.
    ...['-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0'],
    ...['-d', o.source, o.image],
  ];
}

/**
 * Arguments that set what `mke2fs -d` drops of a time: nanoseconds, and the bits of the seconds above 32. Undefined when there
 * is nothing to set. The field holds the nanoseconds above two bits that count how often the seconds wrapped around.
 */
export function exactTimeArguments(o: {
  image: string;
  file: string;
  mtime: bigint;
  mtimeNsec: number;
}): string[] | undefined {
  const wraps = Number(((o.mtime - BigInt.asIntN(32, o.mtime)) >> 32n) & 3n);
  const extra = o.mtimeNsec * 4 + wraps;
  if (extra === 0) return undefined;
  return ['-w', '-R', `set_inode_field ${o.file} mtime_extra ${extra}`, o.image];
}
