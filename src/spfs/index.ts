export { Companion, type ImportSource } from './companion.js';
export type { Described, NamedDigest, NamedObject } from './describe.js';
export { chainNames } from './chains/index.js';
export { printableName, type Listing } from './browse/index.js';
export { loadSpfsConfig, settings, type SettingName, type Setting, type SpfsConfig } from './config/index.js';
export { shortForm, toBase32 } from './digest.js';
export type { Progress } from './import/index.js';
export type { Environment, OpenChain } from './model.js';
