export { loadConfig, type Config, type ConfigSources } from './load.js';
export { defaultConfigFile, flagOf, settings, type Setting, type SettingName } from './settings.js';
