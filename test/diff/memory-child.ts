import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LayerDiffer } from '../../src/diff/index.js';
import { Slots } from '../../src/jobs.js';
import { silentLogger } from '../../src/log.js';
import { loneLayers } from './lone-layers.js';

/**
 * Converts the blob named by the first argument, of the media type named by the second, and prints its own peak memory in bytes. With a
 * third argument it ends so many milliseconds after it began, in the middle of whatever it does, with status 7.
 */
const [path = '', mediaType = '', endMs] = process.argv.slice(2);
const hash = createHash('sha256');
for await (const part of createReadStream(path)) hash.update(part as Buffer);
const { size } = await stat(path);
// Beside the blob, whose owner removes it whatever becomes of this process.
const folder = await mkdtemp(join(dirname(path), 'output-'));
const differ = new LayerDiffer({
  content: {
    info: () => Promise.resolve({ labels: {} }),
    ...loneLayers,
    open: () => Promise.resolve({ kind: 'file', path, size }),
  },
  slots: new Slots(1),
  conversionTimeoutMs: 100_000,
  maxLayerBytes: 2 ** 40,
  aheadAtOnce: 0,
  log: silentLogger(),
});
if (endMs !== undefined) setTimeout(() => process.exit(7), Number(endMs));
try {
  await differ.apply({
    descriptor: { mediaType, digest: `sha256:${hash.digest('hex')}`, size },
    target: {
      id: 1,
      diffId: undefined,
      adoptLayer: () => Promise.resolve(undefined),
      temporary: (purpose) => join(folder, purpose),
      publishLayer: (image) => rename(image, join(folder, 'published')),
    },
    signal: new AbortController().signal,
  });
  process.stdout.write(String(process.resourceUsage().maxRSS * 1024));
} finally {
  await differ.close();
  await rm(folder, { recursive: true, force: true });
}
