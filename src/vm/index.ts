export { findBusybox } from './busybox.js';
export { findGuestKernel } from './installed-kernel.js';
export type { GuestKernel } from './kernel.js';
export type { Guest, GuestRunOptions } from './options.js';
export { planGuest, startGuest } from './start.js';
