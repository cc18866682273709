import { CodedError } from '../../errors.js';
import { digestMistake, parseSpfsDigest } from '../digest.js';
import { quoted, textAt, type Fault } from './fault.js';

/** A tag at one point of its history. */
export interface TagSpec {
  /** With its organisations: `org/…/name`. */
  readonly name: string;
  /** 0 is the newest entry, N the N-th before it. */
  readonly version: number;
}

/** How the names of spec files end; no tag's does. */
export const specFileSuffix = '.spfs.yaml';

/** 32 bits: more entries than any tag has. */
const largestVersion = 0xffff_ffff;

/** @throws CodedError `invalid-argument` with the position of what is wrong */
export function parseTagSpec(text: string): TagSpec {
  const tag = readTag(text);
  if ('what' in tag) throw tagError(text, tag);
  return tag;
}

/**
 * The name of a tag that is to be written: without a version, since a new entry is always the newest.
 *
 * @throws CodedError `invalid-argument` with the position of what is wrong
 */
export function parseTagName(text: string): string {
  const version = text.indexOf('~');
  if (version > 0) {
    const next = `write ${text.slice(0, version)}`;
    throw tagError(text, { at: version, what: 'a version cannot be given here', next });
  }
  const blank = text.search(/\s/u);
  if (blank !== -1) throw tagError(text, { at: blank, what: 'a tag has no white space', next: tagRule });
  return parseTagSpec(text).name;
}

/** Reads `[org/…/]name[~version]`, or tells what is wrong with it. */
export function readTag(text: string): TagSpec | Fault {
  const mistake = digestMistake(text);
  if (mistake !== undefined) return mistake;
  if (parseSpfsDigest(text) !== undefined) return { what: 'this is a digest and no tag', next: tagRule };
  const tilde = text.indexOf('~');
  const name = tilde === -1 ? text : text.slice(0, tilde);
  const fault = tilde === -1 ? nameFault(name) : (nameFault(name) ?? versionFault(text, tilde + 1));
  return fault ?? { name, version: tilde === -1 ? 0 : Number(text.slice(tilde + 1)) };
}

const tagRule = 'a tag is [org/…/]name[~version], of letters, digits and - : . _';

function nameFault(name: string): Fault | undefined {
  if (name === '') return { what: 'the name of the tag is missing', next: tagRule };
  if (name === '-') {
    return { what: '"-" is the empty environment and no tag', next: 'give "-" alone, or the name of a tag' };
  }
  const odd = /[^A-Za-z0-9:._/-]/u.exec(name);
  if (odd !== null) {
    const blank = /\s/.test(odd[0]);
    const what = blank ? 'a tag has no white space' : `${quoted(odd[0])} cannot be part of a tag`;
    return { at: odd.index, what, next: blank ? 'join items with +' : tagRule };
  }
  let at = 0;
  for (const part of name.split('/')) {
    if (part === '') return { at, what: 'the tag has an empty part', next: tagRule };
    if (part === '.' || part === '..') {
      return {
        at,
        what: `"${part}" is a path's and no part of a tag`,
        next: 'write the absolute path for a spec file',
      };
    }
    at += part.length + 1;
  }
  if (!name.endsWith(specFileSuffix)) return undefined;
  const what = `only spec files have names that end in ${specFileSuffix}`;
  return { at: name.length - specFileSuffix.length, what, next: 'write the absolute path of a spec file' };
}

const versionRule = 'write ~0 for the newest entry, ~1 for the one before it, and so on';

/** @param at where the version begins, behind the `~` */
function versionFault(text: string, at: number): Fault | undefined {
  const version = text.slice(at);
  const fault = (what: string, offset = 0): Fault => ({ at: at + offset, what, next: versionRule });
  if (version === '') return fault('the version is missing behind the "~"');
  if (/^-\d+(\.\d*)?$/.test(version)) return fault('a version cannot be negative');
  if (/^\d*[.,]\d*$/.test(version)) return fault('a version cannot be a fraction');
  const odd = /\D/u.exec(version);
  if (odd?.[0] === '/') return fault('a version stands at the very end of a tag', odd.index);
  if (odd !== null) return fault(`the version ${quoted(version)} is not a whole number`, odd.index);
  return Number(version) <= largestVersion ? undefined : fault(`a version is at most ${largestVersion}`);
}

function tagError(text: string, { at, what, next }: Fault): CodedError {
  return new CodedError('invalid-argument', `tag ${textAt(text, at)}: ${what}`, {
    facts: { tag: text.slice(0, 200) },
    next,
  });
}
