export { LayerDiffer, type LayerContent, type LayerDifferOptions } from './apply.js';
