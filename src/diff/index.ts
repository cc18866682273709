export { LayerDiffer, type LayerDifferOptions } from './apply.js';
export { LayerComparer } from './compare/comparer.js';
export { folderTar } from './compare/folder-tar.js';
