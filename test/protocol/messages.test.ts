import { describe, expect, it } from 'vitest';
import {
  contentService,
  definitionOf,
  diffService,
  eventsService,
  imagesService,
  introspectionService,
  leasesService,
  loadDefinitions,
  snapshotsService,
} from '../../src/protocol/index.js';
import type {
  ContentMethods,
  DiffMethods,
  EventsMethods,
  ImagesMethods,
  IntrospectionMethods,
  LeasesMethods,
} from '../../src/protocol/index.js';
import type { RequestOf, ResponseOf, ServiceContract, SnapshotsMethods } from '../../src/protocol/index.js';

/** For each method that the daemon serves or calls, a request and a response in which every field is set. */
type Samples<Methods> = {
  readonly [Name in keyof Methods]?: readonly [RequestOf<Methods[Name]>, ResponseOf<Methods[Name]>];
};

const time = { seconds: '-62135596800', nanos: 999_999_999 };
const labels = { 'containerd.io/gc.root': 'x', empty: '' };
const mount = { type: 't', source: 's', target: 'g', options: ['o', 'p'] };
const descriptor = { mediaType: 'm', digest: 'd', size: '9223372036854775807', annotations: labels };
const any = { type_url: 'u', value: Buffer.from([0, 255]) };
const info = { name: 'n', parent: 'p', kind: 'COMMITTED', createdAt: time, updatedAt: time, labels } as const;
const blob = { digest: 'd', size: '9007199254740993', createdAt: time, updatedAt: time, labels };
const create = { snapshotter: 's', key: 'k', parent: 'p', labels };
const byKey = { snapshotter: 's', key: 'k' };

const snapshots: Samples<SnapshotsMethods> = {
  Prepare: [create, { mounts: [mount, mount] }],
  View: [create, { mounts: [mount] }],
  Mounts: [byKey, { mounts: [mount] }],
  Commit: [{ ...create, name: 'n' }, {}],
  Remove: [byKey, {}],
  Stat: [byKey, { info }],
  Update: [{ snapshotter: 's', info, updateMask: { paths: ['labels.containerd.io/gc.root'] } }, { info }],
  List: [{ snapshotter: 's', filters: ['a', 'b'] }, { info: [info, info] }],
  Usage: [byKey, { size: '9223372036854775807', inodes: '-1' }],
  Cleanup: [{ snapshotter: 's' }, {}],
};
const diff: Samples<DiffMethods> = {
  Apply: [{ diff: descriptor, mounts: [mount], payloads: { a: any }, syncFs: true }, { applied: descriptor }],
  Diff: [
    { left: [mount], right: [mount], mediaType: 'm', ref: 'r', labels, sourceDateEpoch: time },
    { diff: descriptor },
  ],
};
const content: Samples<ContentMethods> = {
  Info: [{ digest: 'd' }, { info: blob }],
  List: [{ filters: ['f'] }, { info: [blob] }],
  Read: [
    { digest: 'd', offset: '1', size: '9007199254740993' },
    { offset: '2', data: Buffer.from('bytes') },
  ],
  Update: [{ info: blob, updateMask: { paths: ['labels.containerd.io/uncompressed'] } }, { info: blob }],
  Write: [
    { action: 'COMMIT', ref: 'r', total: '5', expected: 'd', offset: '4', data: Buffer.from('bytes'), labels },
    { action: 'WRITE', startedAt: time, updatedAt: time, offset: '4', total: '5', digest: 'd' },
  ],
  Abort: [{ ref: 'r' }, {}],
};
const leases: Samples<LeasesMethods> = {
  Create: [{ id: 'i', labels }, { lease: { id: 'i', createdAt: time, labels } }],
  Delete: [{ id: 'i', sync: true }, {}],
  List: [{ filters: ['f'] }, { leases: [{ id: 'i', createdAt: time, labels }] }],
  AddResource: [{ id: 'i', resource: { id: 'd', type: 'content' } }, {}],
};
const image = { name: 'n', labels, target: descriptor, createdAt: time, updatedAt: time };
const images: Samples<ImagesMethods> = {
  Get: [{ name: 'n' }, { image }],
  List: [{ filters: ['f'] }, { images: [image] }],
};
const events: Samples<EventsMethods> = {
  Subscribe: [{ filters: ['f'] }, { timestamp: time, namespace: 'n', topic: 't', event: any }],
};
const plugin = {
  type: 't',
  id: 'i',
  requires: ['r'],
  platforms: [{ os: 'linux', architecture: 'amd64', variant: 'v', osVersion: 'o' }],
  exports: { root: '/r' },
  capabilities: ['c'],
  initErr: { code: 14, message: 'm', details: [any] },
};
const introspection: Samples<IntrospectionMethods> = { Plugins: [{ filters: ['f'] }, { plugins: [plugin] }] };

const services: readonly (readonly [
  ServiceContract<unknown>,
  Readonly<Record<string, readonly [unknown, unknown]>>,
])[] = [
  [snapshotsService, { ...snapshots }],
  [diffService, { ...diff }],
  [contentService, { ...content }],
  [introspectionService, { ...introspection }],
  [leasesService, { ...leases }],
  [eventsService, { ...events }],
  [imagesService, { ...images }],
];

describe.each(services)('$name', (service, samples) => {
  const definition = definitionOf(loadDefinitions([service]), service);

  it.each(Object.keys(samples))('%s: every field survives the wire, and is there when it was not sent', (name) => {
    const method = definition[name];
    const [request, response] = samples[name] ?? [];
    if (method === undefined) throw new Error('proto/ lacks the method');
    const wires = [
      [request, method.requestDeserialize(method.requestSerialize(request)), method.requestDeserialize(Buffer.of())],
      [
        response,
        method.responseDeserialize(method.responseSerialize(response)),
        method.responseDeserialize(Buffer.of()),
      ],
    ];
    for (const [sent, received, empty] of wires) {
      expect(received).toEqual(sent);
      expect(Object.keys(empty as object).sort()).toEqual(Object.keys(sent as object).sort());
    }
  });
});

describe('a message of which nothing was sent', () => {
  it('has every field: empty text, lists and maps, and null for messages', () => {
    const method = definitionOf(loadDefinitions([diffService]), diffService)['Apply'];
    expect(method?.requestDeserialize(Buffer.of())).toEqual({ diff: null, mounts: [], payloads: {}, syncFs: false });
  });

  it('gives a snapshot the kind UNKNOWN', () => {
    const method = definitionOf(loadDefinitions([snapshotsService]), snapshotsService)['Stat'];
    expect(method?.responseDeserialize(Buffer.of(10, 0))).toMatchObject({ info: { kind: 'UNKNOWN' } });
  });
});
