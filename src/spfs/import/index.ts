export type { ImportContext, Imported, Progress } from './context.js';
export { findImage } from './image.js';
export { importFolder } from './import-folder.js';
export { importImage } from './import-image.js';
export { importTar } from './import-tar.js';
