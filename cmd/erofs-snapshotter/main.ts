#!/usr/bin/env -S node --max-semi-space-size=2
// A small young generation keeps an idle daemon 10 MB smaller; what it does in bulk is done outside of V8's heap.
import { ignoreOtherSignals } from './signals.js';

ignoreOtherSignals();
// Loaded after that, since it takes a while: in it a signal would end the daemon or open Node's inspector.
const { run } = await import('./run.js');
process.exit(await run());
