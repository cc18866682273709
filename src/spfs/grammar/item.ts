import { resolve } from 'node:path';
import type { Digest } from '../../vocabulary.js';
import { isPartialDigest, parseSpfsDigest } from '../digest.js';
import { shown, type Fault } from './fault.js';
import { readTag, specFileSuffix, type TagSpec } from './tag.js';

/** What the text of one item says by itself, before any file is read. */
export type ItemText =
  | { readonly kind: 'digest'; readonly digest: Digest }
  | { readonly kind: 'reference'; readonly partial?: string; readonly tag?: TagSpec }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'fault'; readonly fault: Fault };

/**
 * Tells the kinds of items apart, in the order digest, partial digest, spec file, tag. What begins with a slash is a spec file or an
 * error, never a tag.
 *
 * @param folder what a relative path would be meant from, for the hint that names the absolute one
 */
export function readItem(text: string, folder: string): ItemText {
  const digest = parseSpfsDigest(text);
  if (digest !== undefined) return { kind: 'digest', digest };
  if (text.startsWith('/')) return readPath(text);
  const relative = relativePathFault(text, folder);
  if (relative !== undefined) return { kind: 'fault', fault: relative };
  const partial = isPartialDigest(text) ? { partial: text.replace(/=+$/, '') } : {};
  const tag = readTag(text);
  if (!('what' in tag)) return { kind: 'reference', ...partial, tag };
  return 'partial' in partial ? { kind: 'reference', ...partial } : { kind: 'fault', fault: tag };
}

function readPath(path: string): ItemText {
  const zero = path.indexOf('\0');
  if (zero === -1) return { kind: 'path', path };
  return { kind: 'fault', fault: { at: zero, what: 'a path cannot contain a zero byte', next: 'leave it out' } };
}

/** A text that can only be meant as a path, but does not begin at the root. */
function relativePathFault(text: string, folder: string): Fault | undefined {
  if (/^~[^/]*\//.test(text)) {
    const what = '"~" is expanded by the shell, at the beginning of a word alone';
    const next = text.startsWith('~/')
      ? `write the absolute path, such as ${shown(`$HOME${text.slice(1)}`)}`
      : 'write the path out';
    return { what, next };
  }
  const meant = text.endsWith(specFileSuffix) || /^\.\.?(\/|$)/.test(text) || /[^/]\/$/.test(text);
  if (!meant) return undefined;
  return { what: 'the path of a spec file must be absolute', next: `write ${shown(resolve(folder, text))}` };
}
