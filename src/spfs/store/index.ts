export { platformDigest } from './platform.js';
export { resolveReference, type Reference } from './resolve.js';
export { SpfsStore } from './store.js';
export type { StoreChange, StoreView, TagStream } from './view.js';
