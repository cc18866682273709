import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { errorCodes, CodedError } from '../../src/errors.js';
import { failedCallOf } from '../../src/grpc/errors.js';

describe('errors on the wire', () => {
  it('gives every code of ours a status of its own', () => {
    const statuses = errorCodes.map((code) => failedCallOf(new CodedError(code, 'x')).status.code);
    expect(new Set(statuses).size).toBe(errorCodes.length);
    expect(statuses).not.toContain(status.OK);
  });

  it.each([
    ['not-found', status.NOT_FOUND],
    ['already-exists', status.ALREADY_EXISTS],
    ['invalid-argument', status.INVALID_ARGUMENT],
    ['failed-precondition', status.FAILED_PRECONDITION],
    ['not-mine', status.UNIMPLEMENTED],
    ['resource-exhausted', status.RESOURCE_EXHAUSTED],
    ['unavailable', status.UNAVAILABLE],
    ['data-loss', status.DATA_LOSS],
  ] as const)('sends %s as status %i', (code, expected) => {
    expect(failedCallOf(new CodedError(code, 'x')).status.code).toBe(expected);
  });

  it('tells what happened and what to do next', () => {
    const error = new CodedError('not-found', 'no snapshot "a"', { next: 'prepare it' });
    expect(failedCallOf(error).status.details).toBe('no snapshot "a"; prepare it');
  });

  it('answers an unforeseen error INTERNAL with an id in place of its words', () => {
    const failure = failedCallOf(new TypeError('secret'));
    expect(failure.status.code).toBe(status.INTERNAL);
    expect(failure.status.details).not.toContain('secret');
    expect(failure.status.details).toContain(failure.id);
    expect(failedCallOf(new TypeError('secret')).id).not.toBe(failure.id);
  });

  it('shortens long details in the middle, so that the advice stays', () => {
    const { details } = failedCallOf(
      new CodedError('internal', `begin ${'x'.repeat(100_000)}`, { next: 'end' }),
    ).status;
    expect(details.length).toBeLessThan(4100);
    expect(details).toMatch(/^begin x+ \[…\] x+; end$/);
  });

  it('makes text that can be percent-encoded of any text', () => {
    const { details } = failedCallOf(new CodedError('internal', 'half \ud83d of a pair')).status;
    expect(() => encodeURI(details)).not.toThrow();
    const cut = failedCallOf(new CodedError('internal', '😀'.repeat(5000) + '!')).status.details;
    expect(() => encodeURI(cut)).not.toThrow();
  });
});
