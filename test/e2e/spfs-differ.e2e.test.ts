import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { daemon } from '../../scripts/rig/daemon.js';
import type { Service } from '../../scripts/rig/process.js';
import { connectAsClient } from '../../src/containerd/index.js';
import { silentLogger } from '../../src/log.js';
import { Chains } from '../../src/spfs/chains/index.js';
import { importTar } from '../../src/spfs/import/index.js';
import { startContainerd, type PrivateContainerd } from '../containerd/private-containerd.js';
import { requires } from '../harness/requires.js';
import { never, tarOf } from './spfs-chains-world.js';

/** A configuration that leaves out which differ applies layers. */
const configuration = (address: string) => `version = 3
[proxy_plugins.spin-erofs]
  type = 'snapshot'
  address = '${address}'
`;

requires(
  'root',
  'mkfs.erofs',
  'containerd',
)('spfs import with a containerd that has other differs unpack', () => {
  let folder: string;
  let containerd: PrivateContainerd;
  let snapshotter: Service;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    const address = join(folder, 'snapshotter.sock');
    containerd = await startContainerd(configuration(address));
    snapshotter = daemon({ root: join(folder, 'root'), address, containerdAddress: containerd.address });
    await snapshotter.start();
  });
  afterAll(async () => {
    await containerd.close();
    await snapshotter.stop();
    await rm(folder, { recursive: true });
  });

  it('says which setting is missing, and leaves nothing', async () => {
    const log = silentLogger();
    const client = connectAsClient({ address: containerd.address, defaultNamespace: 'spfs', log });
    const chains = new Chains({ containerd: client, snapshotter: 'spin-erofs', keeper: () => 'test', log });
    const path = join(folder, 'a.tar');
    await writeFile(path, await tarOf({ a: 'a' }));
    await expect(importTar({ containerd: client, chains, log, signal: never, path })).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringMatching(
        /a\.tar cannot be imported: containerd did not have layer \w{8} unpacked/,
      ) as unknown,
      next: expect.stringContaining('io.containerd.service.v1.diff-service') as unknown,
    });
    client.close();
    const left = (...args: string[]) => containerd.ctr('--namespace', 'spfs', ...args);
    expect(await left('content', 'ls', '--quiet')).toBe('');
    expect((await left('snapshots', '--snapshotter', 'spin-erofs', 'ls')).trim().split('\n')).toHaveLength(1);
  });
});
