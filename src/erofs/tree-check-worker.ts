import { parentPort, workerData } from 'node:worker_threads';
import { failureOf, type Failure } from '../failure.js';
import { walkImage, type WalkedTree, type WalkOptions } from './walk.js';

export interface TreeCheckOrder {
  readonly path: string;
  readonly walk: WalkOptions;
}

export type TreeCheckAnswer = { readonly tree: WalkedTree } | { readonly failure: Failure };

const { path, walk } = workerData as TreeCheckOrder;
const answer = (message: TreeCheckAnswer) => parentPort?.postMessage(message);
walkImage(path, walk).then(
  (tree) => answer({ tree }),
  (error: unknown) => answer({ failure: failureOf(error, path) }),
);
