import { expect, it, onTestFinished } from 'vitest';
import { connectContainerd } from '../../src/containerd/index.js';
import { silentLogger } from '../../src/log.js';
import { startFake } from './fake-content.js';

interface Named {
  readonly ref: string;
}

/** Cancels an upload that containerd has opened and not answered yet; tells which were opened and which aborted. */
async function cancelledWhileOpening(ref: string) {
  const [opened, aborted]: [string[], string[]] = [[], []];
  const controller = new AbortController();
  const fake = await startFake({
    Write: (call: { on: (event: 'data', listener: (request: Named) => void) => void }) =>
      call.on('data', (request) => {
        opened.push(request.ref);
        controller.abort(new Error('enough'));
      }),
    Abort: ({ request }: { request: Named }, answer: (error: unknown, response: unknown) => void) => {
      aborted.push(request.ref);
      answer(null, {});
    },
  });
  onTestFinished(() => fake.close());
  const containerd = connectContainerd({ address: fake.address, defaultNamespace: 'default', log: silentLogger() });
  onTestFinished(() => containerd.close());
  const content = (async function* () {})();
  const finished = () => ({ digest: `sha256:${'0'.repeat(64)}` as const, size: 0, labels: {} });
  const { signal } = controller;
  const write = containerd.blobs.write({ ref, content, finished, namespace: 'default', lease: 'mine', signal });
  await expect(write).rejects.toThrow('enough');
  return { opened, aborted };
}

it('an upload of its own that is cancelled while containerd opens it is aborted there', async () => {
  const { opened, aborted } = await cancelledWhileOpening('');
  expect(opened).toEqual([expect.stringMatching(/^erofs-snapshotter-diff-[0-9a-f]{24}$/)]);
  expect(aborted).toEqual(opened);
});

it("an upload under the caller's name, which may be that of another, is not", async () => {
  expect(await cancelledWhileOpening('busy')).toEqual({ opened: ['busy'], aborted: [] });
});
