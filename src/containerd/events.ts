import type { EventsMethods, ServiceClient } from '../protocol/index.js';
import { inNamespace } from './connection.js';

/** How long the stream stays open without an event, in milliseconds. */
const quietMs = 10 * 60_000;

/**
 * Says each time that a blob has become complete, in whatever namespace, until `signal` aborts.
 *
 * @throws the signal's reason; errors of the connection
 */
export async function* blobsCompleted(
  client: ServiceClient<EventsMethods>,
  namespace: string,
  signal: AbortSignal,
): AsyncGenerator<void> {
  const filters = ['topic=="/content/create"'];
  const options = { metadata: inNamespace(namespace), stallMs: quietMs, signal };
  for await (const _event of client.stream('Subscribe', { filters }, options)) yield;
}
