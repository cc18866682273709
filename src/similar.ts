/** A name that differs from the given one by more edits than this is another name, not a slip. */
const mostEdits = 2;

/**
 * Those of `known` that `text` may have been meant as, the likeliest first: a slip of two letters at the most away, and of half
 * of them; or beginning with it, or the same below another folder.
 */
export function similarTo(text: string, known: readonly string[], most = 5): readonly string[] {
  const ranked = known.flatMap((name) => {
    const edits = editDistance(text, name);
    if (edits <= mostEdits && 2 * edits <= text.length) return [{ name, rank: edits }];
    if (text !== '' && name.startsWith(text)) return [{ name, rank: mostEdits + 1 }];
    return name.endsWith(`/${text}`) || text.endsWith(`/${name}`) ? [{ name, rank: mostEdits + 2 }] : [];
  });
  return ranked
    .sort((left, right) => left.rank - right.rank)
    .slice(0, most)
    .map(({ name }) => name);
}

/** Letters to insert, leave out or replace (Levenshtein); anything above the limit counts as just above it. */
function editDistance(left: string, right: string): number {
  if (Math.abs(left.length - right.length) > mostEdits) return mostEdits + 1;
  let above = Array.from({ length: right.length + 1 }, (_, at) => at);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const replaced = (above[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    above = current;
  }
  return Math.min(above[right.length] ?? 0, mostEdits + 1);
}
