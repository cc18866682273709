export {
  checkLayer,
  checkUnchanged,
  hasUnfinishedConversion,
  publishAppliedLayer,
  publishConvertedLayer,
  shareLayer,
  withdrawLayers,
  type LayerRecord,
} from './folder.js';
export { manifestLine } from './names.js';
export { HeldLayers } from './shared.js';
export type { ComparedTree, CompareSides } from './compare-sides.js';
export type { ConvertedLayer, ExtractTarget, LayerTar } from './target.js';
