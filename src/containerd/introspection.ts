import type { IntrospectionMethods, ServiceClient } from '../protocol/index.js';
import { answerDeadlineMs } from './connection.js';
import { asContainerdError } from './errors.js';

/**
 * The folder in which containerd keeps content, as its plugin `io.containerd.content.v1.content` exports it; undefined
 * when it exports none.
 *
 * @throws CodedError `unavailable`, `deadline-exceeded`.
 */
export async function findContentRoot(
  client: ServiceClient<IntrospectionMethods>,
  socketPath: string,
): Promise<string | undefined> {
  const filters = ['type==io.containerd.content.v1,id==content'];
  const { plugins } = await client
    .unary('Plugins', { filters }, { deadlineMs: answerDeadlineMs })
    .catch((error: unknown) => {
      throw asContainerdError(error, 'say where its content lies', socketPath);
    });
  return plugins.find((plugin) => plugin.initErr === null)?.exports['root'];
}
