import type { handleBidiStreamingCall, handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';

type Kind = 'unary' | 'server-stream' | 'exchange';

/**
 * One method of a service. Who sends a message may leave fields out, and who gets it finds every field; so callers and servers
 * see different types of it.
 */
interface Method<K extends Kind, Request, Response, GotRequest, GotResponse> {
  readonly kind: K;
  /** What a caller sends, and what the server gets of that. */
  readonly request: Request;
  readonly gotRequest: GotRequest;
  /** What the server sends, and what the caller gets of that. */
  readonly response: Response;
  readonly gotResponse: GotResponse;
}

/** One request, one response. */
export type Unary<Request, Response, GotRequest = Request, GotResponse = Response> = Method<
  'unary',
  Request,
  Response,
  GotRequest,
  GotResponse
>;

/** One request, any number of responses. */
export type ServerStream<Request, Response, GotRequest = Request, GotResponse = Response> = Method<
  'server-stream',
  Request,
  Response,
  GotRequest,
  GotResponse
>;

declare const methods: unique symbol;

/** A service by name, the file below `proto/` that defines it, and (for the compiler alone) the types of its methods. */
export interface ServiceContract<Methods> {
  readonly name: string;
  readonly file: string;
  readonly [methods]?: Methods;
}

/** The methods of a service, from what proto-loader's generator made of it. */
export type Generated<Definition, Handlers> = {
  readonly [Name in NameOf<Definition>]: Definition[Name] extends MethodDefinition<
    infer Request,
    infer Response,
    infer GotRequest,
    infer GotResponse
  >
    ? Method<KindOf<Handlers, Name>, Sendable<Request>, Sendable<Response>, GotRequest, GotResponse>
    : never;
};

/** What is sent is only read, down to its last field, which the generated types do not say. */
type Sendable<Message> = Message extends string | number | bigint | boolean | Uint8Array | null | undefined
  ? Message
  : Message extends readonly (infer Item)[]
    ? readonly Sendable<Item>[]
    : { readonly [Field in keyof Message]: Sendable<Message[Field]> };

/** The generated types also take any name; that part is left out. */
type NameOf<Definition> = keyof {
  [Name in keyof Definition as string extends Name ? never : number extends Name ? never : Name]: never;
} &
  string;

/** An exchange is a call of many requests, each answered by one response before the next is sent. */
type KindOf<Handlers, Name extends string> = Name extends keyof Handlers
  ? Handlers[Name] extends handleUnaryCall<infer _Request, infer _Response>
    ? 'unary'
    : Handlers[Name] extends handleServerStreamingCall<infer _Request, infer _Response>
      ? 'server-stream'
      : Handlers[Name] extends handleBidiStreamingCall<infer _Request, infer _Response>
        ? 'exchange'
        : never
  : never;

/** The names of those methods that have the shape `K`. */
export type MethodsOf<Methods, K extends Kind> = {
  [Name in keyof Methods]: Methods[Name] extends { readonly kind: K } ? Name : never;
}[keyof Methods] &
  string;

/** What a caller sends. */
export type RequestOf<M> = M extends { readonly request: infer Request } ? Request : never;
/** What a caller gets. */
export type ResponseOf<M> = M extends { readonly gotResponse: infer Response } ? Response : never;
