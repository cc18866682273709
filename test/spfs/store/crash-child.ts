/** Makes change after change until it is killed; prints the number of each one that was acknowledged. */
import { writeSync } from 'node:fs';
import { silentLogger } from '../../../src/log.js';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { entry, layer, platform } from './objects.js';

const store = new SpfsStore({ root: process.argv[2] ?? '', log: silentLogger() });
const first = (await store.read((view) => view.history('turns'))).length;
for (let turn = first; ; turn += 1) {
  const layers = Array.from({ length: 20 }, (_, at) => layer(`turn ${turn} layer ${at}`));
  const whole = platform(...layers);
  await store.exclusive('crash test', async (change) => {
    for (const object of [...layers, whole]) change.putObject(object);
    await change.pushTag('turns', entry(whole, `turn ${turn}`));
    for (const object of layers) await change.pushTag(`turn/${turn}`, entry(object));
    // A removal in the same batch: the tag of the turn before last goes.
    if (turn >= 2) await change.removeTag(`turn/${turn - 2}`);
  });
  writeSync(1, `${turn}\n`);
}
