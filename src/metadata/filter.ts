import { snapshotRefLabel, type Labels } from '../vocabulary.js';
import { Patterns } from './filter-pattern.js';
import { filterError, parseFilter, type Selector } from './filter-syntax.js';

/** What filters look at; `name` is the key of a View or Active. */
export interface FilterSubject {
  readonly name: string;
  readonly kind: 'view' | 'active' | 'committed';
  readonly parent: string;
  readonly labels: Labels;
}

type Predicate = (info: FilterSubject) => boolean;

/** A List request with more filters than this is refused; containerd sends a handful. */
const mostFilters = 1000;

/**
 * Compiles containerd's filters once, for many snapshots. Several filters mean "any of them", none means "all".
 *
 * Follows containerd where it surprises: an unknown field is absent, never an error; an absent field is `!=` to
 * everything, and `~=` looks at it as ''; `name`, `kind` and `parent` are always present, even an empty parent.
 *
 * @param patterns whose limits hold for all these filters together
 * @throws CodedError `invalid-argument` with the position when a filter or its pattern is malformed. What it returns
 *   throws `deadline-exceeded` when the patterns took too long.
 */
export function compileFilters(filters: readonly string[], patterns = new Patterns()): Predicate {
  if (filters.length > mostFilters) {
    throw filterError(
      filters[mostFilters] ?? '',
      0,
      `more than ${mostFilters} filters were given`,
      'give fewer filters',
    );
  }
  const alternatives = filters.map((filter) => compileFilter(filter, patterns));
  if (alternatives.length === 0) return () => true;
  return (info) => alternatives.some((matches) => matches(info));
}

/**
 * What a filter asks for when it asks for one chain ID, and, as containerd does for what it wants to adopt, for one parent:
 * `labels."containerd.io/snapshot.ref"==X,parent=="Y"`. Undefined for a filter that lets others through too.
 *
 * @throws CodedError as {@link compileFilters}
 */
export function refAskedFor(filter: string): { readonly ref: string; readonly parent: string | undefined } | undefined {
  const equal = (filter === '' ? [] : parseFilter(filter)).filter(({ operator }) => operator === '==');
  const ref = equal.find(({ path }) => path[0] === 'labels' && path.slice(1).join('.') === snapshotRefLabel);
  const parent = equal.find(({ path }) => path[0] === 'parent');
  return ref && { ref: ref.value, parent: parent?.value };
}

function compileFilter(filter: string, patterns: Patterns): Predicate {
  if (filter === '') return () => true;
  const selectors = parseFilter(filter).map((selector) => compileSelector(selector, filter, patterns));
  return (info) => selectors.every((matches) => matches(info));
}

function compileSelector({ path, operator, value, valueAt }: Selector, filter: string, patterns: Patterns): Predicate {
  switch (operator) {
    case 'present':
      return (info) => fieldOf(info, path) !== undefined;
    case '==':
      return (info) => fieldOf(info, path) === value;
    case '!=':
      return (info) => (fieldOf(info, path) ?? '') !== value;
    case '~=': {
      const matches = patternAt(value, filter, valueAt, patterns);
      return (info) => matches(fieldOf(info, path) ?? '');
    }
  }
}

function patternAt(value: string, filter: string, at: number, patterns: Patterns): (text: string) => boolean {
  try {
    return patterns.compile(value);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw filterError(filter, at, error.message, 'mend the pattern, or quote it: name~="^a.*"');
  }
}

/** The rest of the path after `labels` is the label's key, dots and all; the other fields ignore it. */
function fieldOf(info: FilterSubject, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'name':
      return info.name;
    case 'kind':
      return info.kind;
    case 'parent':
      return info.parent;
    case 'labels': {
      const key = path.slice(1).join('.');
      return Object.hasOwn(info.labels, key) ? info.labels[key] : undefined;
    }
    default:
      return undefined;
  }
}
