export { setImmutable } from './attributes.js';
export { wallClock } from './clock.js';
export { run, type RunOptions, type RunResult } from './exec.js';
export {
  EarlyFlush,
  exists,
  makeFolder,
  probeWriting,
  publish,
  publishStaged,
  publishTogether,
  stageFile,
  syncFile,
  syncFolder,
  temporaryBeside,
  temporaryPrefix,
  writeFileDurably,
} from './files.js';
export { lockExclusively, lockImage, type Lock } from './locks.js';
export { LogOutput } from './log-output.js';
export { detachLoopDevice, isLoopDeviceInUse, listLoopDevices, type LoopDevice } from './loops.js';
export { listMounts, unmount, type MountPoint } from './mounts.js';
export { notifyReady } from './notify.js';
export { mknod as makeNode, setTimes as setModificationTime } from './libc.js';
export { openWithoutLinks } from './opened.js';
export { makePipe, type PipeEnd } from './pipes.js';
export { PrivateMounts } from './private-mounts.js';
export { bootId, findProcess, killGroup, pidNamespace } from './processes.js';
export { asCodedError, freeBytes, outOfSpace, requireFreeBytes, SpaceReserve } from './space.js';
export { dataRegions, dataRegionsOf, digHoles, largeFiles, type LargeFiles, type Region } from './sparse.js';
export { makeTemporaryFolder } from './temporary.js';
export { Tail } from './tail.js';
export { isOnPath, requireTool } from './tools.js';
export { removeTree } from './tree.js';
export { diskUsage, type DiskUsage } from './usage.js';
export { getXattr, listXattrs, setXattr } from './xattrs.js';
