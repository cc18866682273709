import type { Place } from './items.js';
import { fieldsOf, inShape, listOrEmptyOf, textOf, valueError, type Warn } from './shape.js';
import type { SpecDocument } from './yaml.js';

export const runSpecApis = ['spfs/v0/runspec'] as const;

const item = textOf('the text of an item', 'write a tag, a digest or the absolute path of a spec file');

const shape = fieldsOf({
  api: textOf('text', `write ${runSpecApis[0]}`),
  layers: listOrEmptyOf(item, 'a list of items', 'write "layers:", and below it one "- item" a line'),
});

/**
 * The entries of a run spec, in order. Each is the text of an env spec, mostly of one item, and not read yet.
 *
 * @throws CodedError `invalid-argument` with file, line and field
 */
export function readRunSpec(document: SpecDocument, warn: Warn): readonly Required<Place>[] {
  const { layers } = inShape(document, shape, warn);
  return layers.map((text, index) => {
    const path = ['layers', index];
    if (text.trim() === '') {
      const next = 'write an item, or "-" for none';
      throw valueError(document, path, 'this item is empty', { next });
    }
    return { text, file: document.file, line: document.lineOf(path), field: `layers[${index}]` };
  });
}
