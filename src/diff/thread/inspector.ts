import type { Worker } from 'node:worker_threads';
import type { WalkedTree, WalkOptions } from '../../erofs/index.js';
import { CodedError } from '../../errors.js';
import { startThread } from '../../threads.js';
import { within } from '../../waiting.js';
import { errorOf } from '../../thread-error.js';
import type { Answer, Order } from './worker.js';
import type { InspectionRequest, InspectionResult } from './inspection.js';
import type { RelayRequest, RelayResult } from './relay.js';

/** Milliseconds after which a worker that has nothing to do is ended, so that an idle daemon is small. */
const idleMs = 5_000;
/** Milliseconds that a thread may take to end; only a process that outlived its group, and holds a pipe, can hold it up. */
const endMs = 5_000;

/** A tar on its way through the thread: it is written anew and its digest taken meanwhile. */
export interface Relaying {
  /** Resolves when no more is handed on, since the tar has to be relayed once more. */
  readonly odd: Promise<void>;
  /** Resolves with the bytes of the tar when all were read. Never, when it is refused before. */
  readonly ended: Promise<number>;
  /** Resolves as soon as the tar is known to be wrong, maybe long before its end. */
  readonly refused: Promise<CodedError>;
  /** Says that what came was whole. @throws CodedError what is wrong with the tar */
  readonly finish: () => Promise<RelayResult>;
  /**
   * Has the thread let go of the descriptors, and resolves when it has: before, they must stay open, since it may use their
   * numbers. Both should be dead ends by then, for it may wait for them.
   */
  readonly release: () => Promise<void>;
  /** Tells it from others in this thread. */
  readonly id: number;
  /** Has the thread forget what it knows of an odd tar. */
  readonly forget: () => void;
}

type Listener = (answer: Answer | { readonly kind: 'gone'; readonly error: CodedError }) => void;

/** One worker thread that reads files and hands tars on: hashing a layer must not hold up the calls that the daemon answers meanwhile. */
export class Inspector {
  readonly #worker: Worker;
  readonly #open = new Map<number, Listener>();
  #lastId = 0;
  #failure: CodedError | undefined;
  readonly #exited: Promise<void>;

  constructor() {
    this.#worker = startThread(import.meta.url, 'worker');
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.on('message', (answer: Answer) => this.#open.get(answer.id)?.(answer));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', () => this.#fail(undefined));
    this.#worker.unref();
  }

  get usable(): boolean {
    return this.#failure === undefined;
  }

  /** Reads a file. @throws CodedError what is wrong with it */
  inspect(request: InspectionRequest): Promise<InspectionResult> {
    return new Promise((resolve, reject) => {
      this.#order({ kind: 'inspect', request }, (answer, id) => {
        this.#open.delete(id);
        if (answer.kind === 'result') resolve(answer.result);
        else reject(answer.kind === 'failure' ? errorOf(answer.failure) : goneError(answer));
      });
    });
  }

  /** Walks an image, as `walkImage` does and throws. */
  walk(path: string, walk: WalkOptions): Promise<WalkedTree> {
    return new Promise((resolve, reject) => {
      this.#order({ kind: 'walk', path, walk }, (answer, id) => {
        this.#open.delete(id);
        if (answer.kind === 'walked') resolve(answer.tree);
        else reject(answer.kind === 'failure' ? errorOf(answer.failure) : goneError(answer));
      });
    });
  }

  /**
   * @param onAdvance called now and then, when more was handed on
   * @param after the relay of the same tar that found it odd
   */
  relay(request: RelayRequest, onAdvance: () => void, after?: Relaying): Relaying {
    const odd = deferred<undefined>();
    const ended = deferred<number>();
    const result = deferred<RelayResult>();
    const released = deferred<undefined>();
    const order = this.#order({ kind: 'relay', request, after: after?.id }, (answer, id) => {
      if (answer.kind === 'advanced') onAdvance();
      else if (answer.kind === 'odd') odd.resolve(undefined);
      else if (answer.kind === 'ended') ended.resolve(answer.bytes);
      else if (answer.kind === 'relayed') result.resolve(answer.result);
      else if (answer.kind === 'failure') result.reject(errorOf(answer.failure));
      else {
        this.#open.delete(id);
        result.reject(goneError(answer));
        if (answer.kind === 'released') released.resolve(undefined);
      }
    });
    const refused = new Promise<CodedError>((resolve) => {
      // Also makes the rejection a handled one when the result is never fetched.
      result.promise.catch((error: unknown) => resolve(error as CodedError));
    });
    return {
      id: order,
      refused,
      odd: odd.promise,
      ended: ended.promise,
      finish: () => {
        this.#worker.postMessage({ id: order, kind: 'finish' } satisfies Order);
        return result.promise;
      },
      release: () => {
        this.#worker.postMessage({ id: order, kind: 'release' } satisfies Order);
        return Promise.race([released.promise, this.#exited]);
      },
      forget: () => this.#worker.postMessage({ id: order, kind: 'forget' } satisfies Order),
    };
  }

  /** Whether something is read whose result has not come yet. */
  get busy(): boolean {
    return this.#open.size > 0;
  }

  /** Ends the thread, in the middle of a file too. */
  async close(): Promise<void> {
    this.#failure ??= cancelled();
    this.#tellAll(this.#failure);
    await within(endMs, this.#worker.terminate());
  }

  #order(order: WithoutId<Order>, listener: (answer: Parameters<Listener>[0], id: number) => void): number {
    const id = ++this.#lastId;
    this.#open.set(id, (answer) => listener(answer, id));
    if (this.#failure) listener({ kind: 'gone', error: this.#failure }, id);
    else this.#worker.postMessage({ ...order, id });
    return id;
  }

  #fail(cause: unknown): void {
    this.#failure ??= new CodedError('internal', 'the thread that reads layers ended early', { cause });
    this.#tellAll(this.#failure);
  }

  #tellAll(error: CodedError): void {
    for (const listener of this.#open.values()) listener({ kind: 'gone', error });
    this.#open.clear();
  }
}

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

function goneError(answer: Parameters<Listener>[0]): CodedError {
  return answer.kind === 'gone' ? answer.error : cancelled();
}

function cancelled(): CodedError {
  return new CodedError('cancelled', 'the layer is not read any more');
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: CodedError) => void;
}

function deferred<T>(): Deferred<T> {
  let settle: Omit<Deferred<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...(settle as Omit<Deferred<T>, 'promise'>) };
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
