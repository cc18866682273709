import { CodedError } from '../errors.js';
import type { Disk } from './disks.js';

export type Accelerator = 'kvm' | 'tcg';

export interface Machine {
  readonly architecture: NodeJS.Architecture;
  readonly accelerator: Accelerator;
  readonly memoryMiB: number;
  /** Default 1. */
  readonly cpus?: number;
  /** What lists of processes call it. */
  readonly name?: string;
  readonly vmlinuz: string;
  readonly initramfs: string;
  readonly disks: readonly Disk[];
  /** The names of the virtio ports. */
  readonly ports: readonly string[];
  /** The socket of the virtiofsd that shares what is live. */
  readonly shareSocket?: string;
  /** Hex digits that mark the end of an output. */
  readonly token: string;
}

/** Connected sockets that QEMU inherits: what the kernel prints, then one a virtio port. */
export const consoleDescriptor = 3;
export const firstPortDescriptor = 4;

/** The name by which the guest mounts what virtiofsd shares. */
const shareTag = 'live';

interface Platform {
  readonly program: string;
  readonly machine: string;
  readonly console: string;
}

const platforms: Partial<Record<NodeJS.Architecture, Platform>> = {
  x64: { program: 'qemu-system-x86_64', machine: 'q35,usb=off,smbus=off,sata=off', console: 'ttyS0' },
  arm64: { program: 'qemu-system-aarch64', machine: 'virt,gic-version=max', console: 'ttyAMA0' },
};

/** @throws CodedError `unavailable` on a processor that no guest is known for. */
export function qemuProgram(architecture: NodeJS.Architecture): string {
  return platformOf(architecture).program;
}

function platformOf(architecture: NodeJS.Architecture): Platform {
  const platform = platforms[architecture];
  if (platform) return platform;
  throw new CodedError('unavailable', `guests are not known for the processor ${architecture}`, {
    next: `use one of ${Object.keys(platforms).join(', ')}`,
  });
}

/** Slots 4 to 30 of the root bus, eight functions each: more than the layers overlay takes. */
const firstSlot = 4;
const functionsPerSlot = 8;
const mostDisks = 27 * functionsPerSlot;

/**
 * The arguments of one guest: no device but a console, a virtio port and the disks, each disk with its serial.
 *
 * @throws CodedError `invalid-argument` for more disks than the machine has places for.
 */
export function qemuArguments(machine: Machine): readonly string[] {
  const platform = platformOf(machine.architecture);
  if (machine.disks.length > mostDisks) {
    throw new CodedError(
      'invalid-argument',
      `${machine.disks.length} disks are more than a guest takes (${mostDisks})`,
      {
        next: 'use a merged image, which needs one disk for all layers',
      },
    );
  }
  return [
    ...(machine.name === undefined ? [] : ['-name', `guest=${escaped(machine.name)}`]),
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-machine', machine.shareSocket === undefined ? platform.machine : `${platform.machine},memory-backend=memory`],
    ...['-accel', machine.accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi'],
    ...['-cpu', machine.accelerator === 'kvm' ? 'host' : 'max'],
    ...['-m', `${machine.memoryMiB}M`],
    ...(machine.cpus === undefined ? [] : ['-smp', String(machine.cpus)]),
    ...['-kernel', machine.vmlinuz, '-initrd', machine.initramfs],
    ...['-append', kernelCommandLine(platform.console, machine.token)],
    ...['-chardev', `socket,id=console,fd=${consoleDescriptor}`, '-serial', 'chardev:console'],
    ...['-device', 'virtio-serial-pci,addr=2.0'],
    ...machine.ports.flatMap(portArguments),
    ...(machine.shareSocket === undefined ? [] : shareArguments(machine.shareSocket, machine.memoryMiB)),
    ...machine.disks.flatMap(diskArguments),
  ];
}

/** A panic must end the machine at once; the rest shortens the boot, most of all under emulation. */
function kernelCommandLine(console: string, token: string): string {
  return [
    `console=${console}`,
    'quiet',
    'panic=-1',
    'mitigations=off',
    'random.trust_cpu=on',
    'cryptomgr.notests',
    `erofs_guest=${token}`,
  ].join(' ');
}

function portArguments(name: string, index: number): string[] {
  return [
    ...['-chardev', `socket,id=${name},fd=${firstPortDescriptor + index}`],
    ...['-device', `virtserialport,chardev=${name},name=${name}`],
  ];
}

/** virtiofsd reads and writes the guest's memory, so both must see the same. */
function shareArguments(socket: string, memoryMiB: number): string[] {
  return [
    ...['-object', `memory-backend-memfd,id=memory,size=${memoryMiB}M,share=on`],
    ...['-chardev', `socket,id=live,path=${escaped(socket)}`],
    ...['-device', `vhost-user-fs-pci,chardev=live,tag=${shareTag},addr=3.0`],
  ];
}

/** QEMU ends a value at a comma, unless there are two. */
function escaped(text: string): string {
  return text.replaceAll(',', ',,');
}

function diskArguments(disk: Disk, index: number): string[] {
  const node = `disk${index}`;
  const access = { 'read-only': disk.readOnly };
  // JSON, so that no character of a path means anything.
  const backend = {
    driver: disk.format,
    'node-name': node,
    ...access,
    file: { driver: 'file', filename: disk.path, ...access },
  };
  const slot = (firstSlot + Math.floor(index / functionsPerSlot)).toString(16);
  const place = `addr=${slot}.${index % functionsPerSlot},multifunction=on`;
  return [
    ...['-blockdev', JSON.stringify(backend)],
    ...['-device', `virtio-blk-pci,drive=${node},serial=${disk.serial},${place}`],
  ];
}
