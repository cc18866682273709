import { execFile } from 'node:child_process';
import { access, constants, readFile, readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { packageRoot } from '../../src/package.js';
import { findVirtiofsd } from '../../src/vm/virtiofsd.js';

/** What a suite can ask of the machine, in the order in which it is printed. */
export const capabilities = [
  'root',
  'loop',
  'erofs',
  'ext4',
  'overlay',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
  'qemu',
  'guest-kernel',
  'virtiofsd',
  'xz',
  'zstd',
  'demo-packages',
  'kvm',
] as const;

export type Capability = (typeof capabilities)[number];

/** What was found: `detail` is a version or a place, or, when `present` is false, what is wrong. */
export interface Finding {
  readonly present: boolean;
  readonly detail: string;
}

export type Findings = Readonly<Record<Capability, Finding>>;

const tools = join(packageRoot(), '.tools');
const kvmDeadlineMs = 5_000;

/** The search path of every test: the tools of scripts/setup first. */
export function toolPath(): string {
  return [join(tools, 'bin'), process.env['PATH'] ?? '', '/usr/sbin', '/sbin'].join(delimiter);
}

/** Standard output and error together, whatever the exit status; undefined when the program does not start. */
function output(program: string, args: readonly string[], deadlineMs = 5_000): Promise<string | undefined> {
  const options = { timeout: deadlineMs, killSignal: 'SIGKILL', env: { ...process.env, PATH: toolPath() } } as const;
  return new Promise((resolve) => {
    const child = execFile(program, [...args], options, (error, stdout, stderr) => {
      resolve(error?.code === 'ENOENT' || error?.code === 'EACCES' ? undefined : `${stdout}${stderr}`);
    });
    child.stdin?.end();
  });
}

async function program(name: string, args: readonly string[]): Promise<Finding> {
  const text = await output(name, args);
  if (text === undefined) return { present: false, detail: 'not on PATH' };
  return { present: true, detail: /\d+(\.\d+)+/.exec(text)?.[0] ?? 'of unknown version' };
}

async function readable(path: string, detail: string): Promise<Finding> {
  const present = await access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
  return { present, detail: present ? detail : `${path} is not readable` };
}

async function loopDevices(): Promise<Finding> {
  const control = await readable('/dev/loop-control', 'yes');
  if (!control.present) return control;
  const free = (await output('losetup', ['--find']))?.trim() ?? '';
  return free.startsWith('/dev/') ? { present: true, detail: `next free ${free}` } : { present: false, detail: free };
}

/** A filesystem that is a module which is not loaded yet counts: mounting loads it. */
async function filesystem(name: string): Promise<Finding> {
  const known = await readFile('/proc/filesystems', 'utf8');
  if (new RegExp(`\\s${name}$`, 'm').test(known)) return { present: true, detail: 'in the kernel' };
  if (process.getuid?.() === 0) await output('modprobe', [name]);
  const now = await readFile('/proc/filesystems', 'utf8');
  const present = new RegExp(`\\s${name}$`, 'm').test(now);
  return { present, detail: present ? 'in the kernel' : 'the kernel does not offer it' };
}

function qemuName(): string {
  return `qemu-system-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}`;
}

/** A device that opens proves nothing (nested machines): only a kernel that speaks does. */
async function kvm(kernel: string): Promise<Finding> {
  if (!(await readable('/dev/kvm', 'yes')).present) return { present: false, detail: '/dev/kvm is not readable' };
  const arm = process.arch === 'arm64';
  const [machine, console] = [arm ? 'virt' : 'q35', arm ? 'ttyAMA0' : 'ttyS0'];
  const args = ['-accel', 'kvm', '-cpu', 'host', '-machine', machine, '-m', '256', '-nodefaults', '-no-reboot'];
  const boot = ['-display', 'none', '-serial', 'stdio', '-kernel', kernel, '-append', `console=${console} panic=-1`];
  const text = (await output(qemuName(), [...args, ...boot], kvmDeadlineMs)) ?? '';
  const present = text.includes('Linux version');
  return { present, detail: present ? 'runs a kernel' : 'opens, but runs no kernel (QEMU emulates instead)' };
}

/** Found as `spfs` finds it: distributions keep it off PATH. */
async function virtiofsd(): Promise<Finding> {
  const path = await findVirtiofsd(toolPath()).catch(() => undefined);
  if (path === undefined) return { present: false, detail: 'neither on PATH nor where distributions keep it' };
  return await program(path, ['--version']);
}

async function demoPackages(): Promise<Finding> {
  const names = await readdir(join(tools, 'debs')).catch(() => []);
  const count = names.filter((name) => name.endsWith('.deb')).length;
  return { present: count > 0, detail: count > 0 ? `${count} packages` : 'none in .tools/debs' };
}

/** Looks at the machine once; takes at most the deadlines above. */
export async function findCapabilities(): Promise<Findings> {
  const kernel = join(tools, 'kernel', 'vmlinuz');
  const root = process.getuid?.() === 0;
  const version = await readFile(join(tools, 'kernel', 'version'), 'utf8').catch(() => '');
  return {
    root: { present: root, detail: root ? 'yes' : `uid ${process.getuid?.()}` },
    loop: await loopDevices(),
    erofs: await filesystem('erofs'),
    ext4: await filesystem('ext4'),
    overlay: await filesystem('overlay'),
    'mkfs.erofs': await program('mkfs.erofs', ['--version']),
    'mkfs.ext4': await program('mkfs.ext4', ['-V']),
    containerd: await program('containerd', ['--version']),
    registry: await program('registry', ['--version']),
    qemu: await program(qemuName(), ['--version']),
    'guest-kernel': await readable(kernel, version.trim()),
    virtiofsd: await virtiofsd(),
    xz: await program('xz', ['--version']),
    zstd: await program('zstd', ['--version']),
    'demo-packages': await demoPackages(),
    kvm: await kvm(kernel),
  };
}
