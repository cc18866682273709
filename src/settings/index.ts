export { nearestKey, readToml } from './file.js';
export { loadSettings, printed, type Given, type Setting, type ValuesOf } from './load.js';
export * from './values.js';
