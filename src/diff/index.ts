export { LayerDiffer, type LayerDifferOptions } from './apply.js';
export type { LayerContent } from './convert.js';
export { LayerComparer } from './compare/comparer.js';
export { folderTar } from './compare/folder-tar.js';
