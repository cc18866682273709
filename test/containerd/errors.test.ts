import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import { asContainerdError, asSnapshotError } from '../../src/containerd/errors.js';

const failed = (code: status, details: string): ServiceError =>
  Object.assign(new Error(details), { code, details, metadata: new Metadata() });
const says = (pattern: RegExp) => expect.stringMatching(pattern) as unknown;

it.each([
  ['Last error: Error: connect ENOENT /s', /^start containerd/],
  ['Last error: Error: connect EACCES /s', /^run this as root$/],
])('a containerd that does not answer (%s) comes with what to do', (details, next) => {
  expect(asContainerdError(failed(status.UNAVAILABLE, details), 'list', '/s')).toMatchObject({
    code: 'unavailable',
    message: says(/does not answer at \/s/),
    next: says(next),
  });
});

it.each<[string, status, string, string, RegExp, RegExp]>([
  [
    'the plugin does not answer containerd',
    status.UNAVAILABLE,
    'connection error: desc = "transport: Error while dialing: dial unix:///p: timeout"',
    'unavailable',
    /^erofs-snapshotter does not answer/,
    /^start erofs-snapshotter$/,
  ],
  [
    'containerd has no such plugin',
    status.INVALID_ARGUMENT,
    'snapshotter not loaded: spin-erofs: invalid argument',
    'failed-precondition',
    /has no snapshotter named "spin-erofs"/,
    /\[proxy_plugins\.spin-erofs\]/,
  ],
])('%s', (_, code, details, mapped, message, next) => {
  const error = asSnapshotError(failed(code, details), 'prepare', '/s', 'spin-erofs');
  expect(error).toMatchObject({ code: mapped, message: says(message), next: says(next) });
});

it('whatever else the snapshotter answers keeps its code and its words', () => {
  const error = asSnapshotError(failed(status.FAILED_PRECONDITION, 'it has children'), 'remove a', '/s', 'p');
  expect(error).toMatchObject({
    code: 'failed-precondition',
    message: 'containerd could not remove a: it has children',
  });
  const own = new Error('not of the wire');
  expect(asSnapshotError(own, 'remove a', '/s', 'p')).toBe(own);
});
