export { writableLayerLimits, WritableLayers } from './writable-layers.js';
