export { Chains, type OpenOptions } from './chains.js';
export { chainNames, spfsNamespace } from './names.js';
export type { LayerBlob } from './unpack.js';
