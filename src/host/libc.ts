import { closeSync } from 'node:fs';
import koffi from 'koffi';

/*
 * The calls that Node has no API for. Numbers are Linux's, from its uapi headers; they are the same on amd64 and arm64. Each
 * call returns at once, so calling it on the main thread is fine.
 */
const libc = koffi.load(null); // the process itself: whatever C library Node was linked with

const flockCall = libc.func('int flock(int fd, int operation)') as (fd: number, operation: number) => number;
const fcntlCall = libc.func('int fcntl(int fd, int command, ...)') as Variadic;
const ioctlCall = libc.func('int ioctl(int fd, unsigned long request, ...)') as Variadic;
const pipeCall = libc.func('int pipe2(int *descriptors, int flags)') as (
  descriptors: Int32Array,
  flags: number,
) => number;
const lseekCall = libc.func('int64_t lseek(int fd, int64_t offset, int whence)') as (
  fd: number,
  offset: number,
  whence: number,
) => number | bigint;
const fallocateCall = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)') as (
  fd: number,
  mode: number,
  offset: number,
  length: number,
) => number;
const clockCall = libc.func('int clock_gettime(int clock, void *time)') as (clock: number, time: Buffer) => number;
const getCall = libc.func(
  'int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)',
) as ReadCall;
const listCall = libc.func('int64_t llistxattr(const void *path, void *list, size_t size)') as (
  path: Buffer,
  list: Buffer,
  size: number,
) => number | bigint;
const setCall = libc.func(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
) as (path: Buffer, name: Buffer, value: Uint8Array, size: number, flags: number) => number;
const mknodCall = libc.func('int mknod(const void *path, unsigned int mode, uint64_t device)') as (
  path: Buffer,
  mode: number,
  device: bigint,
) => number;
const utimensatCall = libc.func('int utimensat(int folder, const void *path, const void *times, int flags)') as (
  folder: number,
  path: Buffer,
  times: Buffer,
  flags: number,
) => number;
const pollCall = libc.func('int poll(void *descriptors, unsigned long count, int timeout)') as (
  descriptors: Buffer,
  count: number,
  timeout: number,
) => number;
const socketCall = libc.func('int socket(int domain, int type, int protocol)') as (
  domain: number,
  type: number,
  protocol: number,
) => number;
const sendCall = libc.func(
  'int64_t sendto(int fd, const void *data, size_t size, int flags, const void *address, uint32_t length)',
) as (fd: number, data: Buffer, size: number, flags: number, address: Buffer, length: number) => number | bigint;

type Variadic = (fd: number, request: number, type: string, argument: Buffer | number) => number;
type ReadCall = (path: Buffer, name: Buffer, value: Buffer, size: number) => number | bigint;

const errnoNames = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
// Not in every version of that table; ENOTSUP is Linux's other name of EOPNOTSUPP.
errnoNames.set(61, 'ENODATA').set(95, 'ENOTSUP').set(122, 'EDQUOT');

/** Throws what Node's own system errors look like, so that `errnoOf` reads both. */
function check<T extends number | bigint>(result: T, call: string, path?: string | Buffer): T {
  if (Number(result) >= 0) return result;
  const number = koffi.errno();
  const code = errnoNames.get(number) ?? `E${number}`;
  const where = path === undefined ? '' : ` '${path.toString()}'`;
  throw Object.assign(new Error(`${code}: ${call}${where}`), {
    code,
    errno: -number,
    syscall: call,
    path: path?.toString(),
  });
}

/** Nanoseconds on a clock of the kernel; `struct timespec` has two words of 64 bits. */
export function clockGettime(clock: number): bigint {
  const time = Buffer.alloc(16);
  check(clockCall(clock, time), 'clock_gettime');
  return time.readBigInt64LE(0) * 1_000_000_000n + time.readBigInt64LE(8);
}

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Locks the whole file for this open file alone, without waiting. @throws EWOULDBLOCK (named EAGAIN) when it is taken. */
export function flockExclusively(fd: number): void {
  check(flockCall(fd, LOCK_EX | LOCK_NB), 'flock');
}

const F_OFD_SETLK = 37;
const F_WRLCK = 1;

/**
 * Takes an open-file-description write lock on the whole file, without waiting; `fd` must be open for writing.
 *
 * @throws EAGAIN when any lock is held on any byte through another open file.
 */
export function ofdLockWhole(fd: number): void {
  // struct flock, 64-bit: type int16 at 0, whence int16 at 2, start int64 at 8, length int64 at 16 (0: to the end and beyond),
  // pid int32 at 24 (must be 0 for these locks).
  const flock = Buffer.alloc(32);
  flock.writeInt16LE(F_WRLCK, 0);
  check(fcntlCall(fd, F_OFD_SETLK, 'void *', flock), 'fcntl');
}

const O_CLOEXEC = 0o2000000;
const F_SETPIPE_SZ = 1031;

/** The reading and the writing end of a new pipe, which children do not inherit by themselves. */
export function makePipeDescriptors(): [reader: number, writer: number] {
  const descriptors = new Int32Array(2);
  check(pipeCall(descriptors, O_CLOEXEC), 'pipe2');
  return [descriptors[0] as number, descriptors[1] as number];
}

/** Lets a pipe hold more, where the system grants it: a smaller one is slower and no more than that. */
export function growPipe(fd: number, bytes: number): void {
  fcntlCall(fd, F_SETPIPE_SZ, 'int', bytes);
}

const POLLOUT = 4;

/** Whether a write would not block: there is room, or it fails at once. */
export function isWritable(fd: number): boolean {
  // struct pollfd: fd int32, events int16, what came of them int16.
  const poll = Buffer.alloc(8);
  poll.writeInt32LE(fd, 0);
  poll.writeInt16LE(POLLOUT, 4);
  return check(pollCall(poll, 1, 0), 'poll') > 0;
}

const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;

/** The inode's attribute flags, as chattr knows them. @throws ENOTTY or ENOTSUP where the filesystem has none. */
export function getInodeFlags(fd: number): number {
  const flags = Buffer.alloc(8); // declared as a long, used as an int
  check(ioctlCall(fd, FS_IOC_GETFLAGS, 'void *', flags), 'ioctl');
  return flags.readUInt32LE(0);
}

export function setInodeFlags(fd: number, value: number): void {
  const flags = Buffer.alloc(8);
  flags.writeUInt32LE(value >>> 0, 0);
  check(ioctlCall(fd, FS_IOC_SETFLAGS, 'void *', flags), 'ioctl');
}

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;

/** The number of a loop device that no file is attached to at this moment. `fd` is /dev/loop-control. */
export function freeLoopNumber(fd: number): number {
  return check(ioctlCall(fd, LOOP_CTL_GET_FREE, 'int', 0), 'ioctl', '/dev/loop-control');
}

/**
 * Attaches a file to the loop device `loop`, both open for reading. The device cannot be written and goes with its last user; the
 * call that attaches says so, so that there is no moment at which a crash would leave it.
 *
 * @param name for people who list devices
 * @throws EBUSY when a file is attached to it already
 */
export function configureLoop(loop: number, file: number, name: string): void {
  // struct loop_config: file uint32 at 0, block size uint32 at 4 (0: 512 bytes), struct loop_info64 at 8 (232 bytes: flags uint32
  // at 52, name char[64] at 56, zero-terminated), 64 bytes of zero.
  const config = Buffer.alloc(8 + 232 + 64);
  config.writeUInt32LE(file, 0);
  config.writeUInt32LE(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR, 8 + 52);
  config.write(name, 8 + 56, 63);
  check(ioctlCall(loop, LOOP_CONFIGURE, 'void *', config), 'ioctl');
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Where data begins at or after `offset`; undefined when none does. */
export function seekData(fd: number, offset: number): number | undefined {
  const found = lseekCall(fd, offset, SEEK_DATA);
  if (Number(found) < 0 && errnoNames.get(koffi.errno()) === 'ENXIO') return undefined;
  return Number(check(found, 'lseek'));
}

/** Where the first hole begins at or after `offset`: the end of the file when there is none before. */
export function seekHole(fd: number, offset: number): number {
  return Number(check(lseekCall(fd, offset, SEEK_HOLE), 'lseek'));
}

const FALLOC_FL_KEEP_SIZE = 0x01;
const FALLOC_FL_PUNCH_HOLE = 0x02;

/** Makes a stretch of a file, in bytes, a hole that reads as zeros. @throws ENOTSUP where the filesystem has no holes. */
export function punchHole(fd: number, offset: number, length: number): void {
  check(fallocateCall(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length), 'fallocate');
}

/** Bytes of the largest value and the longest list of names that Linux allows. */
const largestXattr = 65_536;
/** What a call below writes to before its answer is copied: memory of its own for each call would cost more than the call. */
const answer = Buffer.allocUnsafe(largestXattr);

function terminated(text: string | Buffer): Buffer {
  return Buffer.concat([Buffer.from(text as string), Buffer.alloc(1)]);
}

export function lgetxattr(path: string | Buffer, name: string): Buffer {
  const size = check(getCall(terminated(path), terminated(name), answer, answer.length), 'lgetxattr', path);
  return Buffer.from(answer.subarray(0, Number(size)));
}

/** Names, each ended by a zero byte. */
export function llistxattr(path: string | Buffer): Buffer {
  const size = check(listCall(terminated(path), answer, answer.length), 'llistxattr', path);
  return Buffer.from(answer.subarray(0, Number(size)));
}

export function lsetxattr(path: string | Buffer, name: string, value: Uint8Array): void {
  check(setCall(terminated(path), terminated(name), value, value.length, 0), 'lsetxattr', path);
}

/** Makes a device, fifo or socket; `mode` has its type. */
export function mknod(
  path: string | Buffer,
  mode: number,
  device: { readonly major: number; readonly minor: number },
): void {
  const [major, minor] = [BigInt(device.major), BigInt(device.minor)];
  const number = ((major & 0xfffn) << 8n) | ((major & ~0xfffn) << 32n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n);
  check(mknodCall(terminated(path), mode, number), 'mknod', path);
}

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

/** Sets both times of a file, of a link itself too. */
export function setTimes(path: string | Buffer, ns: bigint): void {
  // Two of struct timespec: seconds int64, nanoseconds int64, which are never negative.
  const second = 1_000_000_000n;
  const fraction = ((ns % second) + second) % second;
  const times = Buffer.alloc(32);
  for (const at of [0, 16]) {
    times.writeBigInt64LE((ns - fraction) / second, at);
    times.writeBigInt64LE(fraction, at + 8);
  }
  check(utimensatCall(AT_FDCWD, terminated(path), times, AT_SYMLINK_NOFOLLOW), 'utimensat', path);
}

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;

/** Sends one datagram to a unix socket; a name that begins with a zero byte is an abstract one. */
export function sendDatagram(name: string, text: string): void {
  // struct sockaddr_un: family uint16, then the name; a path ends with a zero byte, an abstract name with the length given.
  const address = Buffer.concat([
    Buffer.from([AF_UNIX, 0]),
    name.startsWith('\0') ? Buffer.from(name) : terminated(name),
  ]);
  const data = Buffer.from(text);
  const fd = check(socketCall(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket');
  try {
    check(sendCall(fd, data, data.length, MSG_NOSIGNAL, address, address.length), 'sendto', name);
  } finally {
    closeSync(fd);
  }
}
