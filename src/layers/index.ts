export {
  checkLayer,
  checkUnchanged,
  keepLayer,
  publishAppliedLayer,
  publishConvertedLayer,
  settleLayer,
  shareLayer,
  withdrawLayers,
  type LayerRecord,
} from './folder.js';
export { digestOfFileName, manifestLine } from './names.js';
export { isConvertedAsNow } from './rules.js';
export { HeldLayers, type HeldLayer } from './shared.js';
export type { ComparedTree, CompareSides } from './compare-sides.js';
export type { ExpectedLayer, ExpectLayer } from './expectation.js';
export { Holes, mostHoleBytes, overlayNotes, type OverlayNotes, type Upper } from './upper.js';
export type { ConvertedLayer, ExtractTarget, LayerTar } from './target.js';
