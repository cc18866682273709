// `node --import` runs this in threads as well, where `--import tsx` does nothing: threads that run from source need a loader, too.
import { isMainThread } from 'node:worker_threads';

if (!isMainThread) (await import('tsx/esm/api')).register();
