/*
 * A change of tags that comes to an end in its middle: `keeping-child.ts ADDRESS ROOT STEP WORK NAME [DIGEST]`, where WORK is `import`
 * (of a layer that containerd has), `tag` or `untag`. When it comes to STEP, `keep` or `release`, it says so on standard output and waits to be killed: with `keep` the object is
 * kept and no tag is written yet, with `release` the tags are removed and what they kept is not given up yet.
 */
import { connectAsClient } from '../../src/containerd/index.js';
import { silentLogger } from '../../src/log.js';
import { Chains } from '../../src/spfs/chains/index.js';
import { keepAndTag, untagAndGiveUp } from '../../src/spfs/keeping.js';
import { resolveReference, SpfsStore, type StoreChange } from '../../src/spfs/store/index.js';
import { parseDigest } from '../../src/vocabulary.js';

const [address = '', root = '', step, work, name = '', text = ''] = process.argv.slice(2);
const log = silentLogger();
const { signal } = new AbortController();
const containerd = connectAsClient({ address, defaultNamespace: 'spfs', log });

async function come(to: string): Promise<void> {
  if (to !== step) return;
  process.stdout.write(`${to}\n`);
  await new Promise((resolve) => setTimeout(resolve, 600_000));
}

class Stopping extends Chains {
  override async keep(...given: Parameters<Chains['keep']>): Promise<void> {
    await super.keep(...given);
    await come('keep');
  }

  override async release(...given: Parameters<Chains['release']>): Promise<void> {
    // A change begins with giving up what earlier ones had left: here, nothing.
    if (given[0].length > 0) await come('release');
    await super.release(...given);
  }
}

const store = new SpfsStore({ root, log });
const chains = new Stopping({ containerd, snapshotter: 'spin-erofs', keeper: () => store.id, log });
const options = { store, chains, log };
if (work === 'untag') {
  await untagAndGiveUp(options, [name], signal);
} else {
  const digest = parseDigest(text);
  const find = (change: StoreChange) => {
    if (work === 'import')
      change.putObject({ kind: 'layer', digest, createdAt: new Date().toISOString(), origin: 'a test' });
    return resolveReference(change, { text, digest });
  };
  await keepAndTag(options, { reason: 'a test', names: [name], user: 'child', find, signal });
}
