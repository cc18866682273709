import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { ContentDigest } from '../../src/diff/content-digest.js';
import { Inspectors } from '../../src/diff/thread/inspector.js';
import { CodedError } from '../../src/errors.js';
import { temporaryFolder } from '../host/temporary.js';
import { digestOf } from './apply-world.js';

/** A file that takes minutes to hash and no space: all hole. */
async function longFile(): Promise<string> {
  const path = join(await temporaryFolder(), 'long');
  const file = await open(path, 'w');
  await file.truncate(2 ** 38);
  await file.close();
  return path;
}

function inspectors(): Inspectors {
  const all = new Inspectors();
  onTestFinished(() => all.close());
  return all;
}

it('a long inspection ends at once when it is cancelled, and the next layer gets a fresh thread', async () => {
  const all = inspectors();
  const path = await longFile();
  const inspector = all.lend();
  const controller = new AbortController();
  const layer = { path, size: 0, digest: digestOf(Buffer.alloc(0)) };
  const content = new ContentDigest(layer, inspector, controller.signal);
  const reason = new CodedError('cancelled', 'enough');
  setTimeout(() => controller.abort(reason), 100);
  const started = performance.now();
  await expect(content.check()).rejects.toBe(reason);
  expect(inspector.busy).toBe(true);
  all.giveBack(inspector);
  const next = all.lend();
  expect(next).not.toBe(inspector);
  const small = `${path}.small`;
  await writeFile(small, 'x');
  const found = await next.inspect({ path: small });
  expect(found.digest).toBe(digestOf(Buffer.from('x')));
  expect(performance.now() - started).toBeLessThan(10_000);
});

it('a thread that has nothing to read is lent again', async () => {
  const all = inspectors();
  const path = `${await longFile()}.small`;
  await writeFile(path, 'x');
  const inspector = all.lend();
  await inspector.inspect({ path });
  all.giveBack(inspector);
  expect(all.lend()).toBe(inspector);
});

it('a reading whose thread is ended is told so', async () => {
  const all = inspectors();
  const reading = all.lend().inspect({ path: await longFile() });
  const told = expect(reading).rejects.toMatchObject({ code: 'cancelled' });
  await all.close();
  await told;
});
