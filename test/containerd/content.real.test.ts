import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Content } from '../../src/containerd/content.js';
import { connectContainerd, type Containerd, type ContentSource } from '../../src/containerd/index.js';
import { openChannel } from '../../src/containerd/connection.js';
import { isCode } from '../../src/errors.js';
import { silentLogger } from '../../src/log.js';
import { contentService, eventsService, loadDefinitions, ServiceClient } from '../../src/protocol/index.js';
import { hexOf, parseDigest } from '../../src/vocabulary.js';
import { requires } from '../harness/requires.js';
import { startContainerd, type PrivateContainerd } from './private-containerd.js';

const bytes = randomBytes(24 * 1024 * 1024 + 77);
const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
const descriptor = { mediaType: 'application/octet-stream', digest, size: bytes.length };
const log = silentLogger();

async function readAll(source: ContentSource): Promise<Buffer> {
  if (source.kind === 'file') return readFile(source.path);
  const parts: Uint8Array[] = [];
  for await (const part of source.stream) parts.push(part);
  return Buffer.concat(parts);
}

requires('root', 'containerd')("containerd's content store", () => {
  let daemon: PrivateContainerd;
  let containerd: Containerd;
  beforeAll(async () => {
    daemon = await startContainerd();
    await daemon.ingest('default', digest, bytes);
    containerd = connectContainerd({ address: daemon.address, defaultNamespace: 'default', log });
  });
  afterAll(async () => {
    containerd.close();
    await daemon.close();
  });

  /** Reads as one does that finds `root` where containerd's blobs should be. */
  const reading = async (root: string | undefined, work: (content: Content) => Promise<void>) => {
    const channel = openChannel(daemon.address);
    const client = new ServiceClient(channel, loadDefinitions([contentService]), contentService);
    const events = new ServiceClient(channel, loadDefinitions([eventsService]), eventsService);
    const contentRoot = () => Promise.resolve(root);
    await work(
      new Content({ client, events, contentRoot, socketPath: daemon.address, defaultNamespace: 'default', log }),
    );
    channel.close();
  };

  it('is read through its files, in the folder that containerd names', async () => {
    const source = await containerd.content.open(descriptor);
    expect(source).toMatchObject({ kind: 'file', size: bytes.length });
    expect((await readAll(source)).equals(bytes)).toBe(true);
  });

  it('is streamed, byte for byte, when the folder is not known', () =>
    reading(undefined, async (content) => {
      const source = await content.open(descriptor, 'default');
      expect(source).toMatchObject({ kind: 'stream', size: bytes.length });
      expect((await readAll(source)).equals(bytes)).toBe(true);
    }));

  it('is streamed when the file is missing, and when it is not as long as the blob', () =>
    reading(join(daemon.folder, 'elsewhere'), async (content) => {
      expect((await content.open(descriptor)).kind).toBe('stream');
      const folder = join(daemon.folder, 'elsewhere', 'blobs', 'sha256');
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, hexOf(digest)), bytes.subarray(1));
      expect((await content.open(descriptor)).kind).toBe('stream');
      await writeFile(join(folder, hexOf(digest)), bytes);
      expect((await content.open(descriptor)).kind).toBe('file');
    }));

  it('tells size and labels of a blob', async () => {
    expect(await containerd.content.info(digest)).toMatchObject({ digest, size: bytes.length });
  });

  it('does not give a blob of one namespace to another, although its file is there', async () => {
    const error: unknown = await containerd.content.open(descriptor, 'other').catch((caught: unknown) => caught);
    expect(isCode(error, 'not-found') && error.facts).toMatchObject({ digest, namespace: 'other' });
    expect(String(error)).toContain('"other"');
    expect(String(error)).toContain(digest);
  });

  it('is not trusted when it disagrees with the descriptor about the size', async () => {
    const opening = containerd.content.open({ ...descriptor, size: 5 });
    await expect(opening).rejects.toMatchObject({ code: 'data-loss' });
    expect((await containerd.content.open({ ...descriptor, size: 0 })).size).toBe(bytes.length);
  });

  it('can be left in the middle of a stream, and a stream ends when its signal aborts', () =>
    reading(undefined, async (content) => {
      const left = await content.open(descriptor);
      if (left.kind === 'stream') for await (const part of left.stream) if (part.length > 0) break;
      const controller = new AbortController();
      const source = await content.open(descriptor, undefined, controller.signal);
      const error = new Error('enough');
      const reader = (async () => {
        if (source.kind === 'stream')
          for await (const part of source.stream) if (part.length > 0) controller.abort(error);
      })();
      await expect(reader).rejects.toBe(error);
    }));

  it('is UNAVAILABLE while containerd is down, saying where it was sought, and back with containerd', async () => {
    await daemon.restart(async () => {
      await expect(containerd.content.open(descriptor)).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining(daemon.address) as string,
        next: expect.stringContaining('--containerd-address') as string,
      });
    });
    await expect.poll(() => containerd.content.open(descriptor).then(({ kind }) => kind)).toBe('file');
  });
});
