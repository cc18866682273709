import { randomOf, runsAll } from '../harness/share.js';
import { makeInProcessWorld } from './in-process.js';
import { describeSnapshotter } from './suite.js';

/** The longest chain that containerd's own snapshotters are tried with. */
const deepest = 128;

describeSnapshotter('the snapshotter in one process', makeInProcessWorld, {
  depth: runsAll ? deepest : randomOf().int(17, 33),
});
