import { parentPort, workerData } from 'node:worker_threads';
import { threadErrorOf, type ThreadError } from '../thread-error.js';
import { walkImage, type WalkedTree, type WalkOptions } from './walk.js';

export interface TreeCheckOrder {
  readonly path: string;
  readonly walk: WalkOptions;
}

export type TreeCheckAnswer = { readonly tree: WalkedTree } | { readonly failure: ThreadError };

const { path, walk } = workerData as TreeCheckOrder;
const answer = (message: TreeCheckAnswer) => parentPort?.postMessage(message);
walkImage(path, walk).then(
  (tree) => answer({ tree }),
  (error: unknown) => answer({ failure: threadErrorOf(error, path) }),
);
