export { digestOfFileName, layerFileName, manifestLine } from './names.js';
export {
  findExtractedLayer,
  hasUnfinishedConversion,
  publishConvertedLayer,
  publishExtractedLayer,
  withdrawLayers,
  type LayerRecord,
} from './folder.js';
export type { ExtractTarget } from './target.js';
