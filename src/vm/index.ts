export type { Accelerator } from './arguments.js';
export { type Disk, type DiskRole, disksFromMounts } from './disks.js';
export { type GuestOptions, type GuestResult, runInGuest } from './guest.js';
export type { GuestKernel } from './initramfs.js';
