import { makeInProcessWorld } from './in-process.js';
import { describeSnapshotter } from './suite.js';

describeSnapshotter('the snapshotter in one process', makeInProcessWorld, { depth: 128 });
