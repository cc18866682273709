import { parentPort } from 'node:worker_threads';
import { errnoOf, SnapshotterError, type ErrorCode, type Facts } from '../errors.js';
import { Inspection, type InspectionRequest, type InspectionResult } from './inspection.js';

/** `advance`: the file may have grown. `finish`: it is complete. */
export type Order =
  | { readonly id: number; readonly kind: 'begin'; readonly request: InspectionRequest }
  | { readonly id: number; readonly kind: 'advance' | 'finish' };

export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly facts: Facts;
  readonly next: string | undefined;
}

export type Answer =
  { readonly id: number; readonly result: InspectionResult } | { readonly id: number; readonly failure: Failure };

/** Parts taken before other inspections and new orders get their turn. */
const partsATurn = 16;

interface Running {
  readonly inspection: Inspection;
  complete: boolean;
  scheduled: boolean;
}

const running = new Map<number, Running>();

parentPort?.on('message', (order: Order) => {
  if (order.kind === 'begin') begin(order.id, order.request);
  else {
    const work = running.get(order.id);
    if (!work) return;
    if (order.kind === 'finish') work.complete = true;
    schedule(order.id, work);
  }
});

function begin(id: number, request: InspectionRequest): void {
  try {
    const work: Running = { inspection: new Inspection(request), complete: false, scheduled: false };
    running.set(id, work);
    schedule(id, work);
  } catch (error) {
    answer({ id, failure: failureOf(error, request.path) });
  }
}

function schedule(id: number, work: Running): void {
  if (work.scheduled) return;
  work.scheduled = true;
  setImmediate(() => {
    work.scheduled = false;
    if (running.get(id) === work) takeTurn(id, work);
  });
}

function takeTurn(id: number, work: Running): void {
  try {
    for (let part = 0; part < partsATurn; part++) {
      if (work.inspection.advance()) continue;
      if (work.complete) {
        answer({ id, result: work.inspection.finish() });
        end(id);
      }
      return;
    }
    schedule(id, work);
  } catch (error) {
    end(id);
    answer({ id, failure: failureOf(error, 'the layer') });
  }
}

function end(id: number): void {
  const work = running.get(id);
  running.delete(id);
  work?.inspection.close();
}

function answer(message: Answer): void {
  parentPort?.postMessage(message);
}

/** Classes do not survive the way between threads; their fields do. */
function failureOf(error: unknown, path: string): Failure {
  if (error instanceof SnapshotterError) {
    return { code: error.code, message: error.message, facts: error.facts, next: error.next };
  }
  const message = error instanceof Error ? error.message : String(error);
  const code = errnoOf(error) === 'ENOENT' ? 'not-found' : 'internal';
  return { code, message: `reading ${path} failed: ${message}`, facts: {}, next: undefined };
}
