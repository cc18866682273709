import { Metadata, type CallOptions, type Client, type MethodDefinition, type ServiceDefinition } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { CodedError } from '../errors.js';
import { definitionOf } from './definitions.js';
import type { MethodsOf, RequestOf, ResponseOf, ServiceContract } from './service.js';

export interface UnaryOptions {
  readonly metadata?: Metadata;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

export interface StreamOptions {
  readonly metadata?: Metadata;
  /** How long the server may take for the next message. A slow reader does not count. */
  readonly stallMs: number;
  readonly signal?: AbortSignal;
}

/** A call of many requests. */
export interface Exchanges<Request, Response> {
  /** @throws as `unary`; CodedError `deadline-exceeded` when the server stalls, `unavailable` when it ends the call. */
  send(request: Request): Promise<Response>;
  /** Ends the call; nothing that was answered is taken back. */
  close(): void;
}

/** Calls one service over a channel that several of these share. Errors of the wire are grpc-js's own (`ServiceError`). */
export class ServiceClient<Methods> {
  readonly #channel: Client;
  readonly #definition: ServiceDefinition;

  constructor(channel: Client, definitions: PackageDefinition, service: ServiceContract<Methods>) {
    this.#channel = channel;
    this.#definition = definitionOf(definitions, service);
  }

  /** @throws the signal's reason when it aborts; ServiceError for what the server or the connection answers. */
  async unary<Name extends MethodsOf<Methods, 'unary'>>(
    name: Name,
    request: RequestOf<Methods[Name]>,
    options: UnaryOptions,
  ): Promise<ResponseOf<Methods[Name]>> {
    const { signal, metadata = new Metadata(), deadlineMs } = options;
    signal?.throwIfAborted();
    const method = this.#method(name);
    const callOptions: CallOptions = { deadline: Date.now() + deadlineMs };
    return new Promise((resolve, reject) => {
      const call = this.#channel.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadata,
        callOptions,
        (error, response) => {
          signal?.removeEventListener('abort', cancel);
          if (error === null) resolve(response as ResponseOf<Methods[Name]>);
          else reject(signal?.aborted ? (signal.reason as Error) : error);
        },
      );
      const cancel = () => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** Leaving the loop cancels the call. @throws as `unary`; CodedError `deadline-exceeded` when the server stalls. */
  async *stream<Name extends MethodsOf<Methods, 'server-stream'>>(
    name: Name,
    request: RequestOf<Methods[Name]>,
    options: StreamOptions,
  ): AsyncGenerator<ResponseOf<Methods[Name]>, void, undefined> {
    const { signal, metadata = new Metadata(), stallMs } = options;
    signal?.throwIfAborted();
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    const call = this.#channel.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
    // Once the reader has left, this is the only listener for the error that cancelling brings.
    call.on('error', () => undefined);
    const cancel = () => call.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    const server = { stalled: false };
    const watch = () =>
      setTimeout(() => {
        server.stalled = true;
        call.cancel();
      }, stallMs);
    let timer = watch();
    try {
      for await (const message of call) {
        clearTimeout(timer);
        yield message as ResponseOf<Methods[Name]>;
        timer = watch();
      }
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (server.stalled) throw new CodedError('deadline-exceeded', `${path} sent nothing for ${stallMs / 1000} s`);
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  /** Opens a call in which each request is answered before the next one is sent. */
  exchange<Name extends MethodsOf<Methods, 'exchange'>>(
    name: Name,
    options: StreamOptions,
  ): Exchanges<RequestOf<Methods[Name]>, ResponseOf<Methods[Name]>> {
    const { signal, metadata = new Metadata(), stallMs } = options;
    signal?.throwIfAborted();
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    const call = this.#channel.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    call.on('error', () => undefined);
    const cancel = () => call.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    const responses = call[Symbol.asyncIterator]() as AsyncIterator<unknown, unknown, undefined>;
    const server = { stalled: false };
    return {
      send: async (request) => {
        const timer = setTimeout(() => {
          server.stalled = true;
          call.cancel();
        }, stallMs);
        try {
          call.write(request);
          const { done, value } = await responses.next();
          if (done !== true) return value as ResponseOf<Methods[Name]>;
        } catch (error) {
          if (signal?.aborted) throw signal.reason;
          if (!server.stalled) throw error;
        } finally {
          clearTimeout(timer);
        }
        const what = server.stalled ? `sent nothing for ${stallMs / 1000} s` : 'ended the call without an answer';
        throw new CodedError(server.stalled ? 'deadline-exceeded' : 'unavailable', `${path} ${what}`);
      },
      close: () => {
        signal?.removeEventListener('abort', cancel);
        call.cancel();
      },
    };
  }

  #method(name: string): MethodDefinition<unknown, unknown> {
    const method = this.#definition[name];
    if (method === undefined) throw new Error(`no method ${name}: proto/ and the contract differ`);
    return method as MethodDefinition<unknown, unknown>;
  }
}
