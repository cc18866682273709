import type { ServiceDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { CodedError } from '../errors.js';

/** What stands in the place of a request that cannot be taken as it was sent. */
export class RefusedRequest {
  readonly error: CodedError;

  constructor(error: CodedError) {
    this.error = error;
  }
}

/**
 * The service with requests whose text must be UTF-8, as protobuf has it and Go's own decoder wants it. protobufjs puts U+FFFD in
 * the place of what is not, and two keys that differ would be one. Such a request becomes a {@link RefusedRequest}.
 */
export function withStrictText(definition: ServiceDefinition): ServiceDefinition {
  const methods = Object.entries(definition).map(([name, method]) => {
    const requestDeserialize = (bytes: Buffer): unknown => {
      try {
        // A message type decodes from a reader as well as from bytes.
        return method.requestDeserialize(new StrictReader(bytes) as unknown as Buffer) as unknown;
      } catch (error) {
        if (error instanceof CodedError) return new RefusedRequest(error);
        throw error;
      }
    };
    return [name, { ...method, requestDeserialize }] as const;
  });
  return Object.fromEntries(methods);
}

const strictly = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class StrictReader extends protobuf.BufferReader {
  override string(): string {
    const start = this.pos;
    const text = super.string();
    if (!text.includes('\ufffd')) return text;
    this.pos = start;
    try {
      return strictly.decode(this.bytes());
    } catch (cause) {
      const shown = JSON.stringify(text.slice(0, 100));
      throw new CodedError('invalid-argument', `the text ${shown} of the request is not UTF-8`, {
        next: 'give keys, names and labels as UTF-8, without unpaired surrogates',
        cause,
      });
    }
  }
}
