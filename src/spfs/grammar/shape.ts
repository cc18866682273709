import { z } from 'zod';
import { CodedError } from '../../errors.js';
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
): CodedError {
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

const listOf = <T extends z.ZodType>(item: T, what: string, next: string) =>
  z.array(item, { error: `${what}; ${next}` });

/** A list; a field that was left empty is an empty one. */
export const listOrEmptyOf = <T extends z.ZodType>(...list: Parameters<typeof listOf<T>>) =>
  listOf(...list)
    .nullable()
    .transform((items) => items ?? []);

/** A map with these fields. Others are passed over with a warning. */
export function fieldsOf<S extends z.ZodRawShape>(shape: S) {
  const names = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: ({ code }) =>
      code === 'unrecognized_keys' ? `the fields are ${names}` : `a map; write the fields, which are ${names}`,
  });
}

/** Told what is passed over, in a sentence that begins with its place. */
export type Warn = (message: string) => void;

/** Of one file. */
const mostWarnings = 8;

/**
 * The document's value in the given shape. Fields that the shape has not are passed over, each with a warning.
 *
 * @throws CodedError `invalid-argument` with file, line and field
 */
export function inShape<T>(document: SpecDocument, schema: z.ZodType<T>, warn: Warn): T {
  const value = structuredClone(document.value);
  const first = schema.safeParse(value);
  if (first.success) return first.data;
  const unknown = first.error.issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? [issue] : []));
  for (const { path, keys } of unknown) for (const key of keys) drop(value, path, key);
  const result = schema.safeParse(value);
  if (result.success) {
    for (const warning of unknown.flatMap((issue) => warningsOf(document, issue)).slice(0, mostWarnings)) warn(warning);
    return result.data;
  }
  const [issue] = result.error.issues.toSorted((a, b) => weight(document, a) - weight(document, b));
  if (issue === undefined) throw new CodedError('internal', 'a shape failed without saying why');
  const misspelt = unknown.find(({ path }) => path.join() === issue.path.slice(0, -1).join());
  throw shapeError(document, issue, misspelt?.keys[0]);
}

function drop(value: unknown, path: Path, key: string): void {
  const map = path.reduce((inside: unknown, step) => (inside as Record<PropertyKey, unknown>)[step], value);
  Reflect.deleteProperty(map as object, key);
}

function warningsOf(document: SpecDocument, { path, keys, message }: z.core.$ZodIssueUnrecognizedKeys): string[] {
  return keys.map((key) => {
    const where = { file: document.file, line: document.lineOfKey(path, key), field: fieldName([...path, key]) };
    return specError(where, `there is no field ${quoted(key)}, so it is passed over`, { next: message }).advice;
  });
}

/** What stands first in the file is mended first; what is missing stands nowhere. */
function weight(document: SpecDocument, { path }: z.core.$ZodIssue): number {
  return document.found(path) === undefined ? Infinity : document.lineOf(path);
}

/** @param misspelt a field that the shape has not, in the map of the one that is wrong */
function shapeError(document: SpecDocument, issue: z.core.$ZodIssue, misspelt: string | undefined): CodedError {
  const { path } = issue;
  const [what = '', next = ''] = issue.message.split('; ');
  const found = document.found(path);
  if (found === undefined) {
    const instead = misspelt === undefined ? '' : `, and there is a field ${quoted(misspelt)} that is not known`;
    return valueError(document, path, `this field is missing${instead}`, { next });
  }
  if (found === 'empty') return valueError(document, path, `this is empty, and must be ${what}`, { next });
  const scalar = /^the (?:number|boolean) (.*)$/.exec(found)?.[1];
  const instead = issue.code === 'invalid_type' && issue.expected === 'string' && scalar !== undefined;
  return valueError(document, path, `this is ${found}, and must be ${what}`, {
    next: instead ? `put it in quotes: "${scalar}"` : next,
  });
}
