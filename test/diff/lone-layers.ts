import type { ContentPort } from '../../src/diff/apply.js';

/** The part of a content store that looking ahead reads: here no layer belongs to an image, and none is being fetched. */
export const loneLayers: Omit<ContentPort, 'info' | 'open'> = {
  layersAfter: () => Promise.resolve([]),
  layersWith: () => Promise.resolve([]),
  completed: async function* () {},
  downloads: () => Promise.resolve([]),
  openDownload: () => Promise.resolve(undefined),
  begun: async function* () {},
};
