export { loadSpfsConfig, type ConfigSources, type SpfsConfig } from './load.js';
export { settings, type Setting, type SettingName } from './settings.js';
