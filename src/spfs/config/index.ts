export { loadSpfsConfig, type ConfigSources, type SpfsConfig } from './load.js';
export { configFiles, settings, unusedKeys, unusedSections, type Setting, type SettingName } from './settings.js';
