import { parentPort } from 'node:worker_threads';
import { walkImage, type WalkedTree, type WalkOptions } from '../../erofs/index.js';
import type { LayerTree } from '../tar/tree.js';
import { threadErrorOf, type ThreadError } from '../../thread-error.js';
import { Inspection, type InspectionRequest, type InspectionResult } from './inspection.js';
import { Relay, type RelayRequest, type RelayResult } from './relay.js';

export type Order =
  | { readonly id: number; readonly kind: 'inspect'; readonly request: InspectionRequest }
  /** `after`: the number of the relay that found the tar odd, whose tree this one hands on. */
  | { readonly id: number; readonly kind: 'relay'; readonly request: RelayRequest; readonly after: number | undefined }
  | { readonly id: number; readonly kind: 'walk'; readonly path: string; readonly walk: WalkOptions }
  /** `finish`: what the relay was given is whole. `release`: its descriptors are wanted back. `forget`: nor is its tree wanted. */
  | { readonly id: number; readonly kind: 'finish' | 'release' | 'forget' };

export type Answer = { readonly id: number } & (
  | { readonly kind: 'result'; readonly result: InspectionResult }
  | { readonly kind: 'walked'; readonly tree: WalkedTree }
  | { readonly kind: 'relayed'; readonly result: RelayResult }
  | { readonly kind: 'failure'; readonly failure: ThreadError }
  /** A relay has handed on another stretch. */
  | { readonly kind: 'advanced' }
  /** A relay hands on no more: the tar has to be handed on once more, by its tree. */
  | { readonly kind: 'odd' }
  /** A relay has read everything: so many bytes. */
  | { readonly kind: 'ended'; readonly bytes: number }
  /** A relay uses its descriptors no more. */
  | { readonly kind: 'released' }
);

/** Parts taken before other work and new orders get their turn. */
const partsATurn = 16;

/** Bytes that a relay hands on between two messages about it. */
const stretchBytes = 32 * 1024 * 1024;

interface Work {
  /** Takes the next part; false at the end. */
  advance(): boolean;
  /** At the end. */
  readonly ended: () => void;
  readonly close: () => void;
}

const running = new Map<number, Work>();
const relays = new Map<number, Relay>();
/** Of tars that were found odd. */
const trees = new Map<number, LayerTree>();

parentPort?.on('message', (order: Order) => {
  const { id } = order;
  if (order.kind === 'inspect') inspect(id, order.request);
  else if (order.kind === 'relay') relay(id, order.request, order.after);
  else if (order.kind === 'walk') walk(id, order.path, order.walk);
  else if (order.kind === 'finish') finish(id);
  else if (order.kind === 'release') release(id);
  else trees.delete(id);
});

function inspect(id: number, request: InspectionRequest): void {
  attempt(id, request.path, () => {
    const inspection = new Inspection(request);
    start(id, {
      advance: () => inspection.advance(),
      ended: () => {
        const result = inspection.finish();
        end(id);
        answer({ id, kind: 'result', result });
      },
      close: () => inspection.close(),
    });
  });
}

function walk(id: number, path: string, o: WalkOptions): void {
  walkImage(path, o).then(
    (tree) => answer({ id, kind: 'walked', tree }),
    (error: unknown) => answer({ id, kind: 'failure', failure: threadErrorOf(error, path) }),
  );
}

function relay(id: number, request: RelayRequest, after: number | undefined): void {
  attempt(id, 'the layer', () => {
    const work = new Relay(request, after === undefined ? undefined : trees.get(after));
    relays.set(id, work);
    startRelay(id, work);
  });
}

function startRelay(id: number, work: Relay): void {
  start(id, {
    advance: () => {
      const before = work.handedOn;
      const more = work.advance();
      if (work.oddTree && !trees.has(id)) {
        trees.set(id, work.oddTree);
        answer({ id, kind: 'odd' });
      }
      if (Math.floor(work.handedOn / stretchBytes) > Math.floor(before / stretchBytes))
        answer({ id, kind: 'advanced' });
      return more;
    },
    ended: () => answer({ id, kind: 'ended', bytes: work.size }),
    close: () => {
      relays.delete(id);
      work.close();
    },
  });
}

function finish(id: number): void {
  const work = relays.get(id);
  if (!work) return;
  attempt(id, 'the layer', () => {
    const result = work.finish();
    end(id);
    answer({ id, kind: 'relayed', result });
  });
}

function release(id: number): void {
  end(id);
  answer({ id, kind: 'released' });
}

function start(id: number, work: Work): void {
  running.set(id, work);
  schedule(id, work);
}

function schedule(id: number, work: Work): void {
  setImmediate(() => {
    if (running.get(id) === work) attempt(id, 'the layer', () => takeTurn(id, work));
  });
}

function takeTurn(id: number, work: Work): void {
  for (let part = 0; part < partsATurn; part++) {
    if (work.advance()) continue;
    work.ended();
    return;
  }
  schedule(id, work);
}

function attempt(id: number, what: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    end(id);
    answer({ id, kind: 'failure', failure: threadErrorOf(error, what) });
  }
}

function end(id: number): void {
  const work = running.get(id);
  running.delete(id);
  work?.close();
}

function answer(message: Answer): void {
  parentPort?.postMessage(message);
}
