/**
 * The closed set of ways a request can fail. `src/grpc` maps each to one gRPC status; nothing else does.
 *
 * `not-mine` is the protocol's "ask the next differ" (UNIMPLEMENTED) and is never spent on an accident.
 */
export const errorCodes = [
  'not-found',
  'already-exists',
  'invalid-argument',
  'failed-precondition',
  'not-mine',
  'resource-exhausted',
  'unavailable',
  'deadline-exceeded',
  'cancelled',
  'data-loss',
  'internal',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** What an error knows: the key, path, tool, exit status, tail of stderr and the like. */
export type Facts = Readonly<Record<string, Fact>>;
type Fact = string | number | boolean | readonly string[];

export interface ErrorDetails {
  /** One that is undefined is not known, and left out. */
  readonly facts?: Readonly<Record<string, Fact | undefined>>;
  /** What the user can do next: a sentence without a full stop, starting in lower case. */
  readonly next?: string;
  readonly cause?: unknown;
}

/**
 * The one error class of the product. `message` says what was given and what is wrong with it; `next` says what to do.
 * Any other error that reaches the wire is a bug, answered INTERNAL with a logged id.
 */
export class CodedError extends Error {
  readonly code: ErrorCode;
  readonly facts: Facts;
  readonly next: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'CodedError';
    this.code = code;
    const known = Object.entries(details.facts ?? {}).filter((fact): fact is [string, Fact] => fact[1] !== undefined);
    this.facts = Object.fromEntries(known);
    this.next = details.next;
  }

  /** The message and what to do next, as one line for a person. */
  get advice(): string {
    return this.next === undefined ? this.message : `${this.message}; ${this.next}`;
  }
}

export function isCode(error: unknown, code: ErrorCode): error is CodedError {
  return error instanceof CodedError && error.code === code;
}

/** The `code` of a Node system error (`ENOENT`, `ENOSPC`, …), or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' ? code : undefined;
}

/** A line for a log or a message, whatever was thrown. */
export function describeError(error: unknown): string {
  if (error instanceof CodedError) return error.advice;
  return error instanceof Error ? error.message : String(error);
}
