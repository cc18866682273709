import { z } from 'zod';
import { CodedError } from '../../errors.js';
import { isDigest, type Digest, type OldestFirst } from '../../vocabulary.js';
import type { StoredObject, TagEntry } from '../model.js';

const digest = z.custom<Digest>((value) => typeof value === 'string' && isDigest(value), 'not a sha256 digest');
const layers = z.custom<OldestFirst<Digest>>(
  (value) => Array.isArray(value) && value.every((item) => typeof item === 'string' && isDigest(item)),
  'not a list of sha256 digests',
);
const common = { digest, createdAt: z.iso.datetime({ offset: true }), origin: z.string() };

// Strict: a field that this version does not know belongs to a newer one, which would have raised the format version.
const object = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('layer'), ...common }),
  z.strictObject({ kind: z.literal('platform'), ...common, layers }),
]);
const entry = z.strictObject({ digest, user: z.string(), time: z.iso.datetime({ offset: true }) });

/** @throws CodedError `data-loss` naming `where` and the field */
export function parseObject(text: string, where: string): StoredObject {
  return parsed(object, text, where);
}

/** @throws CodedError `data-loss` naming `where` and the field */
export function parseEntry(text: string, where: string): TagEntry {
  return parsed(entry, text, where);
}

function parsed<T>(schema: z.ZodType<T>, text: string, where: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw broken(where, 'it is not JSON', cause);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue && issue.path.length > 0 ? `field "${issue.path.join('.')}": ` : '';
  throw broken(where, `${field}${issue?.message ?? 'not a record'}`, result.error);
}

function broken(where: string, detail: string, cause: unknown): CodedError {
  return new CodedError('data-loss', `${where} in the store of spfs cannot be read: ${detail}`, { cause });
}
