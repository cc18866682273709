/** Says that it is ready, waits for its turn to begin, and then pushes `count` entries onto the tag `shared`, each in a change. */
import { once } from 'node:events';
import { silentLogger } from '../../../src/log.js';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { entry, layer } from './objects.js';

const [root = '', user = '', count = ''] = process.argv.slice(2);
const store = new SpfsStore({ root, log: silentLogger(), waitMs: 90_000 });
process.stdout.write('ready\n');
await once(process.stdin, 'data');
process.stdin.destroy();
for (let at = 0; at < Number(count); at += 1) {
  const object = layer(`${user} ${at}`);
  await store.exclusive('push', async (change) => {
    change.putObject(object);
    await change.pushTag('shared', entry(object, user));
    await change.pushTag(`own/${user}`, entry(object, user));
  });
  await store.read((view) => view.history('shared'));
}
