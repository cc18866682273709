export { checkGuestExt4 } from './check.js';
export { writableLayerLimits, WritableLayers } from './writable-layers.js';
