import { randomBytes } from 'node:crypto';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it, vi } from 'vitest';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { LayerTar } from '../../scripts/rig/layer-tar.js';
import { LayoutWriter } from '../../scripts/rig/oci-layout.js';
import { pushImage } from '../../scripts/rig/push.js';
import { type Rig, startRig } from '../../scripts/rig/rig.js';
import { requires } from '../harness/requires.js';

const heldBytes = 1024;

/** Passes requests on to a registry, but keeps back the end of large answers until it is let go. */
async function holdingProxy(registry: string): Promise<{ server: Server; host: string; letGo: () => void }> {
  let letGo: () => void = () => undefined;
  const gone = new Promise<void>((resolve) => (letGo = resolve));
  const server = createServer((incoming, outgoing) => {
    const { method, url, headers } = incoming;
    const onward = request(`http://${registry}${url ?? ''}`, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      const total = Number(answer.headers['content-length'] ?? 0);
      void (async () => {
        let sent = 0;
        for await (const chunk of answer as AsyncIterable<Buffer>) {
          const room = total > 1_000_000 ? Math.max(0, total - heldBytes - sent) : chunk.length;
          outgoing.write(chunk.subarray(0, room));
          if (room < chunk.length) await gone;
          outgoing.write(chunk.subarray(room));
          sent += chunk.length;
        }
        outgoing.end();
      })();
    });
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, host: `127.0.0.1:${(server.address() as AddressInfo).port}`, letGo };
}

requires(
  'root',
  'mkfs.erofs',
  'containerd',
  'registry',
)('a pull over a slow network', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await startRig();
  });
  afterAll(() => rig.close());

  it('converts a layer before its last byte is there, and once', async () => {
    const layout = new LayoutWriter(join(rig.folder, 'layout'));
    await mkdir(join(rig.folder, 'layout'));
    await layout.open();
    const tar = new LayerTar(join(rig.folder, 'layer.tar'));
    await tar.add({ name: 'random', mode: 0o644 }, randomBytes(8 * 1024 * 1024));
    const layer = await tar.finish(layout, 'gzip');
    const image = await layout.finish('slow', [layer]);
    await pushImage(image, rig.registry.host, 'slow', 'latest');
    const proxy = await holdingProxy(rig.registry.host);
    try {
      const pulled = rig.containerd.ctr([
        ...['images', 'pull', '--plain-http', '--snapshotter', snapshotterName],
        `${proxy.host}/slow:latest`,
      ]);
      const ahead = join(rig.root, 'ahead');
      await vi.waitFor(async () => {
        const name = (await readdir(ahead)).find((each) => each.endsWith('layer.erofs')) ?? 'nothing yet';
        // Its blocks: mkfs.erofs gives the file a size of terabytes before it writes anything.
        expect((await stat(join(ahead, name))).blocks * 512).toBeGreaterThan(2 * 1024 * 1024);
      }, 60_000);
      proxy.letGo();
      await pulled;
      const converted = rig.daemon.log.split('\n').filter((line) => line.includes('converted a layer'));
      expect(converted).toHaveLength(1);
      expect(JSON.parse(converted[0]!)).toMatchObject({ route: 'ahead', locateMs: 0, digest: layer.descriptor.digest });
      expect(await readdir(ahead)).toEqual([]);
    } finally {
      proxy.letGo();
      proxy.server.close();
    }
  });
});
