export { readDevices, verifyMerged, type MergedImage } from './devices.js';
export { impliedFolder, type Implied } from './implied.js';
export { mergeLayers } from './merge.js';
export { convertDirectory, convertTar } from './mkfs.js';
export { chainRootAttributes, readRootAttributes } from './root.js';
export { readSuperblock, type Superblock } from './superblock.js';
export { layerUuid, snapshotUuid } from './uuid.js';
export { verifyLayer } from './verify.js';
export { checkErofsTools, minimumToMerge, type ErofsTools } from './version.js';
