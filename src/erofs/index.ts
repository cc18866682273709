export { readDevices, verifyMerged, type Device, type MergedImage } from './devices.js';
export { chainRootAttributes, mergeLayers, type MergeOptions } from './merge.js';
export { convertDirectory, convertTar, type ConvertDirectoryOptions, type ConvertTarOptions } from './mkfs.js';
export { readRootAttributes } from './root-inode.js';
export { readSuperblock, type Superblock } from './superblock.js';
export { layerUuid, snapshotUuid } from './uuid.js';
export { verifyLayer } from './verify.js';
export { checkErofsTools, minimumToConvert, minimumToMerge, type ErofsTools } from './version.js';
