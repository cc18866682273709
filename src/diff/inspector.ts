import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { SnapshotterError } from '../errors.js';
import type { Answer, Order } from './inspection-worker.js';
import type { InspectionRequest, InspectionResult } from './inspection.js';

/** Milliseconds after which a worker that has nothing to do is ended, so that an idle daemon is small. */
const idleMs = 5_000;

/** A file that is read in a worker while it may still grow. */
export interface Inspecting {
  /** Says that the file may have grown. */
  readonly advance: () => void;
  /** Says that the file is complete. @throws SnapshotterError what is wrong with the file */
  readonly finish: () => Promise<InspectionResult>;
  /** Resolves as soon as the file is known to be wrong, maybe long before it is complete. */
  readonly refused: Promise<SnapshotterError>;
}

interface Waiting {
  readonly resolve: (result: InspectionResult) => void;
  readonly reject: (error: SnapshotterError) => void;
}

/** Reads files in one worker thread: hashing a layer must not hold up the calls that the daemon answers meanwhile. */
export class Inspector {
  readonly #worker: Worker;
  readonly #open = new Map<number, Waiting>();
  #lastId = 0;
  #failure: SnapshotterError | undefined;

  constructor() {
    this.#worker = startWorker();
    this.#worker.on('message', (answer: Answer) => this.#take(answer));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => this.#fail(undefined));
    this.#worker.unref();
  }

  get usable(): boolean {
    return this.#failure === undefined;
  }

  inspect(request: InspectionRequest): Inspecting {
    const id = ++this.#lastId;
    const result = new Promise<InspectionResult>((resolve, reject) => {
      if (this.#failure) reject(this.#failure);
      else this.#open.set(id, { resolve, reject });
    });
    this.#send({ id, kind: 'begin', request });
    const refused = new Promise<SnapshotterError>((resolve) => {
      // Also makes the rejection a handled one when nobody comes to fetch the result.
      result.catch((error: unknown) => resolve(error as SnapshotterError));
    });
    return {
      refused,
      advance: () => this.#send({ id, kind: 'advance' }),
      finish: () => {
        this.#send({ id, kind: 'finish' });
        return result;
      },
    };
  }

  /** Whether something is read whose result has not come yet. */
  get busy(): boolean {
    return this.#open.size > 0;
  }

  /** Ends the thread, in the middle of a file too. */
  async close(): Promise<void> {
    this.#failure ??= new SnapshotterError('cancelled', 'the file is not read any more');
    this.#rejectAll(this.#failure);
    await this.#worker.terminate();
  }

  #send(order: Order): void {
    this.#worker.postMessage(order);
  }

  #take(answer: Answer): void {
    const waiting = this.#open.get(answer.id);
    this.#open.delete(answer.id);
    if ('result' in answer) waiting?.resolve(answer.result);
    else {
      const { code, message, facts, next } = answer.failure;
      waiting?.reject(new SnapshotterError(code, message, { facts, ...(next === undefined ? {} : { next }) }));
    }
  }

  #fail(cause: unknown): void {
    this.#failure ??= new SnapshotterError('internal', 'the thread that reads layers ended early', { cause });
    this.#rejectAll(this.#failure);
  }

  #rejectAll(error: SnapshotterError): void {
    for (const { reject } of this.#open.values()) reject(error);
    this.#open.clear();
  }
}

/** Run from source, as the tests do, the worker is TypeScript too, and a thread does not inherit the loader that reads it. */
function startWorker(): Worker {
  const extension = extname(import.meta.url);
  const file = new URL(`./inspection-worker${extension}`, import.meta.url);
  if (extension !== '.ts') return new Worker(file);
  const load = `import('tsx/esm/api').then((tsx) => { tsx.register(); return import(${JSON.stringify(file.href)}); })`;
  return new Worker(load, { eval: true });
}

/** Inspectors for one piece of work each, kept for a while for the next one: a thread takes milliseconds to start. */
export class Inspectors {
  readonly #idle = new Map<Inspector, NodeJS.Timeout>();
  readonly #lent = new Set<Inspector>();
  readonly #ending = new Set<Promise<void>>();

  lend(): Inspector {
    const inspector = this.#takeIdle() ?? new Inspector();
    this.#lent.add(inspector);
    return inspector;
  }

  /** One that still reads is ended: its thread might be in the middle of a long file, and the next work would wait for it. */
  giveBack(inspector: Inspector): void {
    if (!this.#lent.delete(inspector) || !inspector.usable) return;
    if (inspector.busy) {
      this.#end(inspector);
      return;
    }
    const expiry = setTimeout(() => {
      this.#idle.delete(inspector);
      this.#end(inspector);
    }, idleMs);
    expiry.unref();
    this.#idle.set(inspector, expiry);
  }

  async close(): Promise<void> {
    const all = [...this.#idle.keys(), ...this.#lent];
    for (const expiry of this.#idle.values()) clearTimeout(expiry);
    this.#idle.clear();
    this.#lent.clear();
    for (const inspector of all) this.#end(inspector);
    await Promise.all(this.#ending);
  }

  #end(inspector: Inspector): void {
    const ending: Promise<void> = inspector.close().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }

  #takeIdle(): Inspector | undefined {
    for (const [inspector, expiry] of this.#idle) {
      clearTimeout(expiry);
      this.#idle.delete(inspector);
      if (inspector.usable) return inspector;
    }
    return undefined;
  }
}
