export { isWithin } from './destination.js';
export { parseEnvSpec } from './env-spec.js';
export { describePlace } from './fault.js';
export type { SpecFiles } from './files.js';
export { hostSpecFiles } from './host-files.js';
export type { DigestItem, EnvItem, LiveLayerItem, ReferenceItem } from './items.js';
export { parseTagName } from './tag.js';
