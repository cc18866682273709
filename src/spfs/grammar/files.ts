/** What a path leads to, symlinks followed. */
export type FileKind =
  'file' | 'directory' | 'named pipe' | 'socket' | 'character device' | 'block device' | 'file of an unknown kind';

export interface FileStatus {
  readonly kind: FileKind;
  /** Bytes. */
  readonly size: number;
}

/** All that the grammar asks of a filesystem. Failures are Node's system errors; the grammar says where they happened. */
export interface SpecFiles {
  /** The folder that a relative path would be meant from. */
  readonly cwd: string;
  /** Follows symlinks; undefined when nothing is there. */
  stat(path: string): Promise<FileStatus | undefined>;
  /** The first bytes of a regular file, `mostBytes` at most, however large it is or grows. Never waits for a pipe's writer. */
  read(path: string, mostBytes: number): Promise<Uint8Array>;
  /** The path without symlinks, `.` and `..`, resolved as the kernel does; undefined when nothing is there. */
  realpath(path: string): Promise<string | undefined>;
}
