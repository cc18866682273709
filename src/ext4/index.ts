export { checkGuestExt4 } from './check.js';
export { extractFolder } from './extract.js';
export { writableLayerLimits, WritableLayers } from './writable-layers.js';
