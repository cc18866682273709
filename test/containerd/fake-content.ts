import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { connectContainerd } from '../../src/containerd/index.js';
import { silentLogger } from '../../src/log.js';
import { contentService, definitionOf, introspectionService, loadDefinitions } from '../../src/protocol/index.js';

/** A containerd that answers what a test makes it answer; methods that are not given are not implemented. */
export async function startFake(methods: Readonly<Record<string, unknown>>) {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const address = join(folder, 's');
  const server = new Server();
  const definitions = loadDefinitions([contentService, introspectionService]);
  for (const service of [contentService, introspectionService]) {
    server.addService(definitionOf(definitions, service), methods as UntypedServiceImplementation);
  }
  await promisify(server.bindAsync.bind(server))(`unix:${address}`, ServerCredentials.createInsecure());
  const containerd = connectContainerd({ address, defaultNamespace: 'fallback', log: silentLogger() });
  return {
    content: containerd.content,
    definitions,
    address,
    async close() {
      containerd.close();
      server.forceShutdown();
      await rm(folder, { recursive: true });
    },
  };
}
