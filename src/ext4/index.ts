export { writableLayerLimits, WritableLayers, type CreateOptions } from './writable-layers.js';
