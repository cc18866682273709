import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { ContainerdClient } from '../../containerd/index.js';
import { CodedError } from '../../errors.js';
import type { Descriptor } from '../../vocabulary.js';

/** A manifest has at most 4 MiB by the OCI distribution specification; nothing bounds a configuration. */
const largestDocument = 16 * 1024 * 1024;

/**
 * Reads a JSON document from the content store and checks its digest.
 *
 * @throws CodedError `not-found` it is not there; `data-loss` it is damaged; `failed-precondition` it is not what `schema`
 *   says
 */
export async function readDocument<T>(
  { content }: ContainerdClient,
  descriptor: Descriptor,
  namespace: string,
  schema: z.ZodType<T>,
  signal: AbortSignal,
): Promise<T> {
  const { digest, size } = descriptor;
  const unusable = (code: 'data-loss' | 'failed-precondition', what: string, cause?: unknown) =>
    new CodedError(code, `document ${digest} of the image ${what}`, {
      facts: { digest, mediaType: descriptor.mediaType },
      next: 'pull the image again',
      cause,
    });
  if (size > largestDocument) throw unusable('failed-precondition', `has ${size} bytes, more than ${largestDocument}`);
  const source = await content.open(descriptor, namespace, signal);
  const bytes = source.kind === 'file' ? await readFile(source.path) : await collect(source.stream);
  const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  if (found !== digest) throw unusable('data-loss', `is damaged: its bytes have the digest ${found}`);
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw unusable('failed-precondition', `is not what its media type says: ${wrongPart(error)}`, error);
  }
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

function wrongPart(error: unknown): string {
  if (!(error instanceof z.ZodError)) return error instanceof Error ? error.message : String(error);
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}
