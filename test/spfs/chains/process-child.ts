/*
 * A process that uses chains and may be killed: `process-child.ts ADDRESS open DIGEST…` opens a stack, says so on standard output
 * and stays until its standard input ends; `… import-and-die PATH STEP` imports a folder and kills itself when it comes to STEP.
 */
import { connectAsClient } from '../../../src/containerd/index.js';
import { silentLogger } from '../../../src/log.js';
import { Chains } from '../../../src/spfs/chains/index.js';
import { importFolder } from '../../../src/spfs/import/index.js';
import { parseDigest, type Digest, type OldestFirst } from '../../../src/vocabulary.js';

const [address = '', work = '', ...rest] = process.argv.slice(2);
const log = silentLogger();
const { signal } = new AbortController();
const containerd = connectAsClient({ address, defaultNamespace: 'spfs', log });
const chains = new Chains({ containerd, snapshotter: 'spin-erofs', keeper: () => 'test', log });

if (work === 'open') {
  const layers = rest.map((text) => parseDigest(text)) as unknown as OldestFirst<Digest>;
  const open = await chains.open(layers, { signal });
  process.stdout.write(`${JSON.stringify(open.mounts)}\n`);
  for await (const _chunk of process.stdin);
  await open.close();
} else {
  const [path = '', step] = rest;
  const onProgress = (progress: { step: string }) => {
    if (progress.step === step) process.kill(process.pid, 'SIGKILL');
  };
  await importFolder({ containerd, chains, log, signal, path, onProgress });
}
containerd.close();
