export { Chains, type ChainsOptions, type EnsureOptions, type OpenOptions } from './chains.js';
export type { Hold } from './holds.js';
export { chainNames, spfsNamespace, type Link } from './names.js';
export type { LayerBlob } from './unpack.js';
