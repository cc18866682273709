import { Client, credentials, status } from '@grpc/grpc-js';
import type { ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { afterEach, expect, it } from 'vitest';
import type { ContentSource } from '../../src/containerd/index.js';
import { contentService, ServiceClient } from '../../src/protocol/index.js';
import { startFake } from './fake-content.js';

const digest = `sha256:${'0'.repeat(64)}` as const;
const descriptor = { mediaType: '', digest, size: 10 };

let fake: Awaited<ReturnType<typeof startFake>>;
afterEach(() => fake.close());

type Answer = (error: unknown, response?: unknown) => void;
type Part = { readonly offset: number; readonly data: Buffer };

const info = (_: unknown, answer: Answer) => answer(null, { info: { digest, size: 10 } });
const noPlugins = (_: unknown, answer: Answer) => answer(null, { plugins: [] });
const sending = (parts: readonly Part[]) => (call: ServerWritableStream<unknown, unknown>) => {
  for (const part of parts) call.write(part);
  call.end();
};

async function read(source: ContentSource): Promise<string> {
  if (source.kind === 'file') throw new Error('a stream was expected');
  const parts: Uint8Array[] = [];
  for await (const part of source.stream) parts.push(part);
  return Buffer.concat(parts).toString();
}

it('streams when containerd exports no content root', async () => {
  const parts = [
    { offset: 0, data: Buffer.from('01234') },
    { offset: 5, data: Buffer.from('56789') },
  ];
  fake = await startFake({ Info: info, Plugins: noPlugins, Read: sending(parts) });
  expect(await read(await fake.content.open(descriptor))).toBe('0123456789');
});

it.each([
  ['ends early', [{ offset: 0, data: Buffer.from('01234') }]],
  ['is longer than the blob', [{ offset: 0, data: Buffer.from('01234567890') }]],
  [
    'has a gap',
    [
      { offset: 0, data: Buffer.from('01234') },
      { offset: 6, data: Buffer.from('56789') },
    ],
  ],
])('calls a stream that %s data loss', async (_, parts) => {
  fake = await startFake({ Info: info, Plugins: noPlugins, Read: sending(parts) });
  await expect(read(await fake.content.open(descriptor))).rejects.toMatchObject({ code: 'data-loss' });
});

it('does not pass a method that containerd lacks off as "not mine"', async () => {
  fake = await startFake({});
  await expect(fake.content.open(descriptor)).rejects.toMatchObject({ code: 'internal' });
});

it('streams while the content root cannot be asked for, and asks again', async () => {
  let asked = 0;
  const plugins = (call: unknown, answer: Answer) => {
    asked += 1;
    if (asked === 1) answer({ code: status.UNAVAILABLE, details: 'busy' });
    else noPlugins(call, answer);
  };
  fake = await startFake({ Info: info, Plugins: plugins });
  expect((await fake.content.open(descriptor)).kind).toBe('stream');
  expect((await fake.content.open(descriptor)).kind).toBe('stream');
  await fake.content.open(descriptor);
  expect(asked).toBe(2);
});

it('brings the namespace of the call along, and the default one for a call without', async () => {
  const seen: unknown[] = [];
  const recording = (call: ServerUnaryCall<unknown, unknown>, answer: Answer) => {
    seen.push(...call.metadata.get('containerd-namespace'));
    info(call, answer);
  };
  fake = await startFake({ Info: recording });
  await fake.content.info(digest, 'k8s.io');
  await fake.content.info(digest);
  expect(seen).toEqual(['k8s.io', 'fallback']);
});

it('refuses a descriptor whose digest is not sha256, before it asks', async () => {
  fake = await startFake({});
  await expect(fake.content.open({ ...descriptor, digest: 'sha512:../../x' })).rejects.toMatchObject({
    code: 'invalid-argument',
  });
});

it('is done with a call as soon as its signal aborts', async () => {
  fake = await startFake({ Info: () => undefined });
  const controller = new AbortController();
  const error = new Error('enough');
  setTimeout(() => controller.abort(error), 20);
  await expect(fake.content.info(digest, undefined, controller.signal)).rejects.toBe(error);
});

it('gives a stream up on which nothing comes, but not because its reader is slow', async () => {
  const parts = [
    { offset: 0, data: Buffer.from('a') },
    { offset: 1, data: Buffer.from('b') },
  ];
  fake = await startFake({
    Read: (call: ServerWritableStream<unknown, unknown>) => parts.forEach((part) => call.write(part)),
  });
  const channel = new Client(`unix:${fake.address}`, credentials.createInsecure());
  const client = new ServiceClient(channel, fake.definitions, contentService);
  const seen: string[] = [];
  const reading = async () => {
    for await (const part of client.stream('Read', { digest, offset: '0', size: '0' }, { stallMs: 100 })) {
      seen.push(Buffer.from(part.data).toString());
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  await expect(reading()).rejects.toMatchObject({ code: 'deadline-exceeded' });
  expect(seen).toEqual(['a', 'b']);
  channel.close();
});
