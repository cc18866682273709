import type { Fault } from './fault.js';

/** One item of an env spec. */
export interface SplitItem {
  /** Never empty. */
  readonly text: string;
  /** Index of its first character in the env spec. */
  readonly at: number;
}

const isBlank = (character: string | undefined) => character !== undefined && ' \t\r\n'.includes(character);

/** The items between the pluses, without the white space around them; none for an empty text and for "-". */
export function splitItems(text: string): readonly SplitItem[] | Fault {
  const items: SplitItem[] = [];
  for (let from = 0; from <= text.length;) {
    const plus = text.indexOf('+', from);
    const end = plus === -1 ? text.length : plus;
    let [first, last] = [from, end];
    while (first < last && isBlank(text[first])) first += 1;
    while (last > first && isBlank(text[last - 1])) last -= 1;
    items.push({ text: text.slice(first, last), at: first });
    from = end + 1;
  }
  const [only] = items;
  if (items.length === 1 && (only?.text === '' || only?.text === '-')) return [];
  const empty = items.findIndex((item) => item.text === '');
  if (empty === -1) return items;
  const side =
    empty === 0 ? 'before the first "+"' : empty === items.length - 1 ? 'after the last "+"' : 'between two "+"';
  const path = items.slice(0, empty).some((item) => item.text.startsWith('/'));
  const next = path
    ? 'remove the "+"; a path that contains one cannot be named here'
    : 'remove the "+", or write an item there';
  return { at: items[empty]?.at ?? 0, what: `there is no item ${side}`, next };
}
