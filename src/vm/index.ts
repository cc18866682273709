export { findBusybox } from './busybox.js';
export { type Disk, disksFromMounts } from './disks.js';
export { type CollectedResult, type GuestOptions, runInGuest } from './guest.js';
export { findGuestKernel } from './installed-kernel.js';
export type { GuestKernel } from './kernel.js';
export type { Guest, GuestRunOptions } from './options.js';
export { planGuest, startGuest } from './start.js';
export { findVirtiofsd } from './virtiofsd.js';
