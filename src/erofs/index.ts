export { readDevices, verifyMerged, type MergedImage } from './devices.js';
export { chainRootAttributes, mergeLayers } from './merge.js';
export { convertDirectory, convertTar } from './mkfs.js';
export { readRootAttributes } from './root-inode.js';
export { readSuperblock, type Superblock } from './superblock.js';
export { layerUuid, snapshotUuid } from './uuid.js';
export { verifyLayer } from './verify.js';
export { checkErofsTools, minimumToMerge, type ErofsTools } from './version.js';
