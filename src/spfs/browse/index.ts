export { Browser, type Listing } from './browser.js';
export { bytesOf, printableName } from './names.js';
