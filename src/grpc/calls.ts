import { once } from 'node:events';
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  ServerUnaryCall,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { CodedError } from '../errors.js';
import type { Logger } from '../log.js';
import { RefusedRequest, type ServerStream, type Unary } from '../protocol/index.js';
import { orAborted, within } from '../waiting.js';
import { failedCallOf, type FailedCall } from './errors.js';
import type { SnapshotterPort } from './ports.js';

/** What a handler knows of the call besides its request. */
export interface CallContext {
  /** Recovered. */
  readonly snapshotter: SnapshotterPort;
  readonly namespace: string;
  /** The lease under which the caller keeps what a call makes, when it names one. */
  readonly lease: string | undefined;
  /** Aborts when the caller goes away, its deadline passes, or the daemon stops and the call takes too long. */
  readonly signal: AbortSignal;
}

/** For each method of a service, the function that answers it. */
export type Handlers<Methods> = {
  readonly [Name in keyof Methods]: Methods[Name] extends Unary<infer _Sent, infer Response, infer Request, infer _Got>
    ? (request: Request, context: CallContext) => Promise<Response>
    : Methods[Name] extends ServerStream<infer _Sent, infer Response, infer Request, infer _Got>
      ? (request: Request, context: CallContext) => AsyncIterable<Response>
      : never;
};

type Answer = (request: unknown, context: CallContext) => Promise<unknown>;
type Stream = (request: unknown, context: CallContext) => AsyncIterable<unknown>;
/** How a call ended. */
type Outcome<Result> = { readonly result: Result } | { readonly failure: FailedCall };
type WireCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

interface CallsOptions {
  /** Calls wait for it, and fail as it fails. */
  readonly snapshotter: Promise<SnapshotterPort>;
  readonly defaultNamespace: string;
  readonly log: Logger;
}

/** Stands between grpc-js and the handlers: readiness, cancellation, errors, the log, and the list of running calls. */
export class Calls {
  readonly #options: CallsOptions;
  readonly #running = new Map<AbortController, Promise<unknown>>();

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  unary<Request, Response>(
    answer: (request: Request, context: CallContext) => Promise<Response>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      void this.#run(call as WireCall, (context) => answer(call.request, context)).then((outcome) => {
        if ('failure' in outcome) callback(outcome.failure.status);
        else callback(null, outcome.result);
      });
    };
  }

  /** Asks for the next message only when the caller has taken the ones before. */
  stream<Request, Response>(
    answer: (request: Request, context: CallContext) => AsyncIterable<Response>,
  ): handleServerStreamingCall<Request, Response> {
    return (call) => {
      const work = async (context: CallContext) => {
        for await (const message of answer(call.request, context)) {
          context.signal.throwIfAborted();
          if (!call.write(message)) await once(call, 'drain', { signal: context.signal });
        }
      };
      void this.#run(call as WireCall, work).then((outcome) => {
        if ('failure' in outcome) call.emit('error', outcome.failure.status);
        else call.end();
      });
    };
  }

  /** Waits for the running calls; after `limitMs` aborts what still runs, and gives that `graceMs` to clean up. */
  async drain(limitMs: number, graceMs: number): Promise<void> {
    if (await within(limitMs, this.#settled())) return;
    this.#options.log.warn({ calls: this.#running.size }, 'stopping calls that did not end in time');
    const reason = new CodedError('unavailable', 'the daemon is stopping', { next: 'ask again when it is back' });
    for (const controller of this.#running.keys()) controller.abort(reason);
    if (await within(graceMs, this.#settled())) return;
    this.#options.log.error({ calls: this.#running.size }, 'calls did not end although they were stopped');
  }

  async #settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values());
  }

  async #run<Result>(call: WireCall, work: (context: CallContext) => Promise<Result>): Promise<Outcome<Result>> {
    const controller = new AbortController();
    const cancelled = () => controller.abort(whyCancelled(call));
    call.on('cancelled', cancelled);
    if (call.cancelled) cancelled();
    const job = this.#answer(call, controller.signal, work);
    this.#running.set(controller, job);
    try {
      return await job;
    } finally {
      this.#running.delete(controller);
      call.off('cancelled', cancelled);
    }
  }

  async #answer<Result>(
    call: WireCall,
    signal: AbortSignal,
    work: (context: CallContext) => Promise<Result>,
  ): Promise<Outcome<Result>> {
    const { defaultNamespace, log } = this.#options;
    const namespace = textOf(call.metadata, 'containerd-namespace') ?? defaultNamespace;
    const lease = textOf(call.metadata, 'containerd-lease');
    const facts = { method: call.getPath(), namespace, ...subjectOf(call.request) };
    const began = performance.now();
    try {
      if (call.request instanceof RefusedRequest) throw call.request.error;
      const snapshotter = await orAborted(this.#options.snapshotter, signal);
      const result = await work({ snapshotter, namespace, lease, signal });
      log.debug({ ...facts, ms: Math.round(performance.now() - began) }, 'answered');
      return { result };
    } catch (error) {
      // Whatever a stopped call trips over, being stopped is why it failed; the signal knows by what.
      const foreseen = error instanceof CodedError && error.code !== 'cancelled';
      const cause: unknown = signal.aborted && !foreseen ? signal.reason : error;
      const failure = failedCallOf(cause);
      const { status: sent, level, id } = failure;
      const more = id === undefined ? {} : { id };
      log[level]({ ...facts, ...more, code: sent.code, err: cause }, 'a call failed');
      return { failure };
    }
  }
}

/** grpc-js's table of a service, each method wrapped by `calls`; a method is a stream when `streams` names it. */
export function implementation<Methods>(
  calls: Calls,
  handlers: Handlers<Methods>,
  streams: readonly (keyof Methods & string)[] = [],
): UntypedServiceImplementation {
  const wrapped = Object.entries(handlers).map(([name, handler]) => {
    const isStream = streams.some((stream) => stream === name);
    return [name, isStream ? calls.stream(handler as Stream) : calls.unary(handler as Answer)] as const;
  });
  return Object.fromEntries(wrapped);
}

/**
 * Milliseconds by which a caller's own timer may ring before the deadline as it is known here: a time-out travels as what is left of it,
 * and is counted from its arrival.
 */
const timeoutTravelMs = 100;

function whyCancelled(call: WireCall): CodedError {
  const deadline = call.getDeadline();
  if (Number(deadline) <= Date.now() + timeoutTravelMs)
    return new CodedError('deadline-exceeded', "the caller's deadline passed");
  return new CodedError('cancelled', 'the caller cancelled or went away');
}

function textOf(metadata: Metadata, key: string): string | undefined {
  const [value] = metadata.get(key);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** What the call was about, for the log: whichever of these fields the request has. */
function subjectOf(request: unknown): Record<string, string> {
  const { key, name, parent, diff, info } = request as Record<string, unknown>;
  const subject = {
    key,
    name: name ?? (info as { name?: string } | null | undefined)?.name,
    parent,
    digest: (diff as { digest?: string } | null | undefined)?.digest,
  };
  const given = Object.entries(subject).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  return Object.fromEntries(
    given.filter(([, value]) => value !== '').map(([field, value]) => [field, value.slice(0, 500)]),
  );
}
