export { LayerDiffer, type LayerDifferOptions } from './apply.js';
export type { LayerContent } from './convert.js';
