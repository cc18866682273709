export { Browser, type Listing } from './browser.js';
export { imageOf } from './image.js';
export { bytesOf, printableName } from './names.js';
