export type { ImportContext, Imported, Progress } from './context.js';
export { findImage, imageChain, type FoundImage, type ImageOptions } from './image.js';
export { importFolder, type ImportFolderOptions } from './import-folder.js';
export { importImage, type ImportImageOptions } from './import-image.js';
export { importTar, type ImportTarOptions } from './import-tar.js';
