export { type Disk, disksFromMounts } from './disks.js';
export { type GuestOptions, type GuestResult, runInGuest } from './guest.js';
export type { GuestKernel } from './initramfs.js';
export type {
  Guest,
  GuestPlan,
  GuestRoot,
  GuestRunOptions,
  GuestStart,
  LiveShare,
  PlainStreams,
  PlannedProcess,
  TerminalStreams,
} from './options.js';
