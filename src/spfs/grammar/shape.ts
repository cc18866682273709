import { z } from 'zod';
import { SnapshotterError } from '../../errors.js';
import { quoted, specError, type Where } from './fault.js';
import type { Path, SpecDocument } from './yaml.js';

/** `contents[1].dest`; empty for the whole document. */
function fieldName(path: Path): string {
  const steps = path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`));
  return steps.join('').replace(/^\./, '');
}

/** An error at a value of a file. */
export function valueError(
  document: SpecDocument,
  path: Path,
  what: string,
  details: Parameters<typeof specError>[2],
): SnapshotterError {
  return specError(valueWhere(document, path), what, details);
}

export function valueWhere(document: SpecDocument, path: Path): Where {
  const field = fieldName(path);
  return { file: document.file, line: document.lineOf(path), field: field === '' ? undefined : field };
}

/*
 * The parts of schemas. A message has two halves, what a value must be and what to write, parted by a semicolon; what the value is
 * instead, and where, is added when a file does not fit.
 */

export const textOf = (what: string, next: string) => z.string({ error: `${what}; ${next}` });

export const listOf = <T extends z.ZodType>(item: T, what: string, next: string) =>
  z.array(item, { error: `${what}; ${next}` });

/** A map with these fields and no others. */
export function fieldsOf<S extends z.ZodRawShape>(shape: S) {
  const names = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: ({ code }) =>
      code === 'unrecognized_keys' ? `the fields are ${names}` : `a map; write the fields, which are ${names}`,
  });
}

/**
 * The document's value in the given shape.
 *
 * @throws SnapshotterError `invalid-argument` with file, line and field
 */
export function inShape<T>(document: SpecDocument, schema: z.ZodType<T>): T {
  const result = schema.safeParse(document.value);
  if (result.success) return result.data;
  const [issue] = result.error.issues.toSorted((a, b) => weight(document, a) - weight(document, b));
  throw issue === undefined
    ? new SnapshotterError('internal', 'a shape failed without saying why')
    : shapeError(document, issue);
}

/** What stands first in the file is mended first; but a field is often missing because its name is misspelt. */
function weight(document: SpecDocument, issue: z.core.$ZodIssue): number {
  if (issue.code === 'unrecognized_keys') return document.lineOfKey(issue.path, issue.keys[0] ?? '');
  return document.found(issue.path) === undefined ? Infinity : document.lineOf(issue.path);
}

function shapeError(document: SpecDocument, issue: z.core.$ZodIssue): SnapshotterError {
  const { path } = issue;
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const where = { file: document.file, line: document.lineOfKey(path, key), field: fieldName([...path, key]) };
    return specError(where, `there is no field ${quoted(key)}`, { next: issue.message });
  }
  const [what = '', next = ''] = issue.message.split('; ');
  const found = document.found(path);
  if (found === undefined) return valueError(document, path, 'this field is missing', { next });
  if (found === 'empty') return valueError(document, path, `this is empty, and must be ${what}`, { next });
  const scalar = /^the (?:number|boolean) (.*)$/.exec(found)?.[1];
  const instead = issue.code === 'invalid_type' && issue.expected === 'string' && scalar !== undefined;
  return valueError(document, path, `this is ${found}, and must be ${what}`, {
    next: instead ? `put it in quotes: "${scalar}"` : next,
  });
}
