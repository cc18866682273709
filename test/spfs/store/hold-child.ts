/** Holds the store in the middle of a change, until it is killed. */
import { silentLogger } from '../../../src/log.js';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { entry, layer } from './objects.js';

const store = new SpfsStore({ root: process.argv[2] ?? '', log: silentLogger() });
await store.exclusive('hold', async (change) => {
  change.putObject(layer('held'));
  await change.pushTag('held', entry(layer('held')));
  process.stdout.write('holding\n');
  await new Promise((resolve) => setTimeout(resolve, 600_000));
});
