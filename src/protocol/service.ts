/** One request, one response. */
export interface Unary<Request, Response> {
  readonly kind: 'unary';
  readonly request: Request;
  readonly response: Response;
}

/** One request, any number of responses. */
export interface ServerStream<Request, Response> {
  readonly kind: 'server-stream';
  readonly request: Request;
  readonly response: Response;
}

/** Any number of requests, each answered by one response before the next is sent. */
export interface Exchange<Request, Response> {
  readonly kind: 'exchange';
  readonly request: Request;
  readonly response: Response;
}

declare const methods: unique symbol;

/** A service by name, the file below `proto/` that defines it, and (for the compiler alone) the types of its methods. */
export interface ServiceContract<Methods> {
  readonly name: string;
  readonly file: string;
  readonly [methods]?: Methods;
}

/** The names of those methods that have the shape `Kind`. */
export type MethodsOf<Methods, Kind extends 'unary' | 'server-stream' | 'exchange'> = {
  [Name in keyof Methods]: Methods[Name] extends { readonly kind: Kind } ? Name : never;
}[keyof Methods] &
  string;

export type RequestOf<Method> = Method extends { readonly request: infer Request } ? Request : never;
export type ResponseOf<Method> = Method extends { readonly response: infer Response } ? Response : never;
