/** Mounts an ext4 image (arguments: image, folder), lets a child read a file of it, says so, and lives on with that child. */
import { join } from 'node:path';
import { PrivateMounts, run } from '../../src/host/index.js';

const [image = '', target = ''] = process.argv.slice(2);
const mounts = await PrivateMounts.open(target);
await mounts.mountReadOnly({ image, target, type: 'ext4' });
const options = { deadlineMs: 60_000, mountNamespace: mounts.namespace };
const { stdout } = await run('cat', [join(target, 'file')], options);
const reading = run('sh', ['-c', 'exec <"$1"; while :; do sleep 1; done', 'reader', join(target, 'file')], options);
process.stdout.write(`a child reads ${stdout}\n`);
await reading;
