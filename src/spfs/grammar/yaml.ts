import {
  CST,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type ErrorCode,
  type Node,
  type Pair,
} from 'yaml';
import { quoted, specError } from './fault.js';

/** Far above what the largest spec needs; the time to read a file grows with them. */
const mostTokens = 100_000;
/** Of all anchors together: resolving one walks through the whole file. */
const mostAliases = 16;

/** One YAML file, read and free of errors, whose values can be asked where they stand. */
export interface SpecDocument {
  readonly file: string;
  readonly value: unknown;
  /** The line, counted from 1, of the value at a path, or else of the innermost one around it. */
  lineOf(path: Path): number;
  /** The line of a field's name. */
  lineOfKey(path: Path, key: string): number;
  /** What stands at a path, in words: `a list`, `the number 1.10`; undefined when nothing does. */
  found(path: Path): string | undefined;
}

export type Path = readonly PropertyKey[];

/**
 * Reads YAML 1.2 strictly: one document, no tags of its own, no merge keys, few aliases; warnings are errors.
 *
 * @throws CodedError `invalid-argument` with file, line and column
 */
export function readYaml(text: string, file: string): SpecDocument {
  const lines = new LineCounter();
  const fail = (offset: number, what: string, next: string) => {
    const { line, col } = lines.linePos(offset);
    return specError({ file, line: Math.max(line, 1), column: Math.max(col, 1) }, what, { next });
  };
  checkTokens(text, (at, what, next) => {
    const before = text.slice(0, at).split('\n');
    return specError({ file, line: before.length }, what, { next });
  });
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    resolveKnownTags: false,
    merge: false,
    stringKeys: true,
    strict: true,
    uniqueKeys: false, // the library compares every key with every other; see below
    prettyErrors: false,
    logLevel: 'error', // `silent` would also let a second document pass
    lineCounter: lines,
  });
  const problem = [...document.errors, ...document.warnings][0];
  if (problem !== undefined) {
    const { what, next } = advise(problem);
    throw fail(problem.pos[0], what, next);
  }
  if (document.directives.yaml.explicit === true && document.directives.yaml.version !== '1.2') {
    throw fail(0, `this is YAML ${document.directives.yaml.version}`, 'write YAML 1.2, or leave out %YAML');
  }
  checkNodes(document, fail);
  return new Read(file, document, lines);
}

type Fail = (offset: number, what: string, next: string) => Error;

/** The library reads any file, but some slowly. The lexer stops at once. */
function checkTokens(text: string, fail: Fail): void {
  let tokens = 0;
  let aliases = 0;
  let at = 0;
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token);
    tokens += 1;
    if (type === 'alias') aliases += 1;
    if (aliases > mostAliases) throw fail(at, `there are more than ${mostAliases} aliases`, 'write the values out');
    if (tokens > mostTokens) throw fail(at, 'there is too much in this file', 'spread it over several spec files');
    if (!marks.has(token)) at += token.length;
  }
}

/** What the lexer says besides the text: a byte order mark, a document, a flow's end, a scalar follows. */
const marks: ReadonlySet<string> = new Set([CST.BOM, CST.DOCUMENT, CST.FLOW_END, CST.SCALAR]);

function checkNodes(document: Document.Parsed, fail: Fail): void {
  visit(document, {
    Map(_, map) {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        const name = isScalar(key) ? key.value : key;
        const at = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
        if (seen.has(name)) throw fail(at, `${quoted(String(name))} is there twice`, 'keep one of them');
        seen.add(name);
      }
    },
    Alias(_, alias) {
      if (alias.resolve(document) !== undefined) return;
      throw fail(
        alias.range?.[0] ?? 0,
        `there is no anchor "&${alias.source}" before this alias`,
        'write the value out',
      );
    },
  });
}

class Read implements SpecDocument {
  readonly file: string;
  readonly value: unknown;
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;

  constructor(file: string, document: Document.Parsed, lines: LineCounter) {
    this.file = file;
    this.#document = document;
    this.#lines = lines;
    try {
      this.value = document.toJS({ maxAliasCount: mostAliases });
    } catch (error) {
      const line = this.#lineAt(firstAlias(document));
      throw specError({ file, line }, 'the aliases refer to each other too often', {
        next: 'write the values out',
        cause: error,
      });
    }
  }

  lineOf(path: Path): number {
    return this.#lineAt(this.#innermost(path).node);
  }

  lineOfKey(path: Path, key: string): number {
    const { node } = this.#innermost(path);
    const pair = isMap(node) ? node.items.find((item) => keyOf(item) === key) : undefined;
    return this.#lineAt((pair?.key as Node | undefined) ?? node);
  }

  found(path: Path): string | undefined {
    const { node, whole } = this.#innermost(path);
    if (!whole) return undefined;
    if (isMap(node)) return 'a map';
    if (isSeq(node)) return 'a list';
    const value = isScalar(node) ? node.value : null;
    if (value === null) return 'empty';
    if (typeof value === 'string') return `the text ${quoted(value)}`;
    const source = (isScalar(node) ? node.source : undefined) ?? JSON.stringify(value);
    return typeof value === 'boolean' ? `the boolean ${source}` : `the number ${source}`;
  }

  #lineAt(node: Node | null): number {
    return Math.max(1, this.#lines.linePos(node?.range?.[0] ?? 0).line);
  }

  /** Walks down a path as far as there is something; `whole` when that is all of it. */
  #innermost(path: Path): { readonly node: Node | null; readonly whole: boolean } {
    let node: Node | null = this.#document.contents;
    for (const step of path) {
      const inside = this.#inside(node, step);
      if (inside === undefined) return { node, whole: false };
      node = inside;
    }
    return { node: isAlias(node) ? (node.resolve(this.#document) ?? null) : node, whole: true };
  }

  #inside(node: Node | null, step: PropertyKey): Node | undefined {
    const real = isAlias(node) ? node.resolve(this.#document) : node;
    if (isSeq(real)) return real.items[Number(step)] as Node | undefined;
    if (!isMap(real)) return undefined;
    return real.items.find((pair) => keyOf(pair) === step)?.value as Node | undefined;
  }
}

function firstAlias(document: Document.Parsed): Node | null {
  let first: Node | null = null;
  visit(document, {
    Alias(_, alias) {
      first = alias;
      return visit.BREAK;
    },
  });
  return first;
}

function keyOf(pair: Pair): unknown {
  return isScalar(pair.key) ? pair.key.value : undefined;
}

interface Advice {
  /** Instead of the library's message. */
  readonly what?: string;
  readonly next: string;
}

const advices: Partial<Record<ErrorCode, Advice>> = {
  BAD_DIRECTIVE: { what: 'there is a directive that is not known', next: 'leave out the line that begins with "%"' },
  BAD_SCALAR_START: { next: 'put the value in double quotes' },
  MULTIPLE_DOCS: { what: 'there is more than one document', next: 'keep one document a file' },
  NON_STRING_KEY: { what: 'the name of a field must be text', next: 'write the name of a field before the colon' },
  RESOURCE_EXHAUSTION: { what: 'this is nested too deeply', next: 'nest less' },
  TAB_AS_INDENT: { next: 'indent with spaces' },
  TAG_RESOLVE_FAILED: { next: 'leave out the tag, which is the word that begins with "!"' },
};

function advise({ code, message }: { readonly code: ErrorCode; readonly message: string }): Required<Advice> {
  const { what, next } = advices[code] ?? { next: 'correct the YAML there' };
  return { what: what ?? `this YAML cannot be read: ${message.split('\n')[0] ?? ''}`, next };
}
