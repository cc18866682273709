import { CodedError } from '../errors.js';
import { toInt64, toTimestamp, type SnapshotInfoMessage, type SnapshotsMethods } from '../protocol/index.js';
import type { Labels } from '../vocabulary.js';
import { labelOverheadBytes } from '../metadata/index.js';
import type { SnapshotInfo } from '../snapshots/index.js';
import type { Handlers } from './calls.js';

/** Infos in one message of List, large enough that messages do not count. */
const pageSize = 100;

/** Bytes of one message of List, unless one info alone takes more: Go's clients take 4 MiB when they are told nothing else. */
const pageBytes = 1024 * 1024;

/** The labels of one info, at most; all labels that this release takes fit. containerd takes messages of 16 MiB. */
const mostLabelBytes = 15.5 * 1024 * 1024;

const kinds = { view: 'VIEW', active: 'ACTIVE', committed: 'COMMITTED' } as const;

/** Translates between messages and the snapshotter. The `snapshotter` field of a request is ours, whatever it says. */
export const snapshotsHandlers: Handlers<SnapshotsMethods> = {
  Prepare: async ({ key, parent, labels }, { snapshotter, namespace, signal }) => ({
    mounts: await snapshotter.prepare({ key, parent, labels, namespace, signal }),
  }),
  View: async ({ key, parent, labels }, { snapshotter, namespace, signal }) => ({
    mounts: await snapshotter.view({ key, parent, labels, namespace, signal }),
  }),
  Mounts: async ({ key }, { snapshotter }) => ({ mounts: await snapshotter.mounts(key) }),
  Commit: async ({ name, key, labels, parent }, { snapshotter, signal }) => {
    await snapshotter.commit({ name, key, labels, signal, ...(parent === '' ? {} : { parent }) });
    return {};
  },
  Remove: async ({ key }, { snapshotter }) => {
    await snapshotter.remove(key);
    return {};
  },
  Stat: async ({ key }, { snapshotter }) => ({ info: toMessage(await snapshotter.stat(key)) }),
  Update: async ({ info, updateMask }, { snapshotter }) => {
    if (info === null) {
      throw new CodedError('invalid-argument', 'the update names no snapshot', {
        next: 'set the field "info"',
      });
    }
    const { name, labels } = info;
    return { info: toMessage(await snapshotter.update({ name, labels }, updateMask?.paths ?? [])) };
  },
  List: async function* ({ filters }, { snapshotter, namespace }) {
    for await (const page of pagesOf(snapshotter.list(filters, namespace))) yield { info: page.map(toMessage) };
  },
  Usage: async ({ key }, { snapshotter }) => {
    const { bytes, inodes } = await snapshotter.usage(key);
    return { size: toInt64(bytes, 'a usage in bytes'), inodes: toInt64(inodes, 'a usage in inodes') };
  },
  Cleanup: async (_request, { snapshotter }) => {
    await snapshotter.cleanup();
    return {};
  },
};

async function* pagesOf(infos: AsyncIterable<SnapshotInfo>): AsyncGenerator<SnapshotInfo[]> {
  let page: SnapshotInfo[] = [];
  let bytes = 0;
  for await (const info of infos) {
    const more = bytesOf(info);
    if (page.length === pageSize || (page.length > 0 && bytes + more > pageBytes)) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(info);
    bytes += more;
  }
  if (page.length > 0) yield page;
}

/** What an info takes of a message, at most. */
function bytesOf({ name, parent, labels }: SnapshotInfo): number {
  return infoOverheadBytes + Buffer.byteLength(name) + Buffer.byteLength(parent) + bytesOfLabels(labels);
}

/** Tags, lengths, the kind and two times. */
const infoOverheadBytes = 64;

function bytesOfLabels(labels: Labels): number {
  let bytes = 0;
  for (const [key, value] of Object.entries(labels)) {
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value) + labelOverheadBytes;
  }
  return bytes;
}

/** A snapshot with more labels than a message holds, as earlier releases took, would keep all others from being listed. */
function sendable(labels: Labels): Labels {
  return bytesOfLabels(labels) <= mostLabelBytes ? labels : {};
}

function toMessage(info: SnapshotInfo): SnapshotInfoMessage {
  const { name, parent } = info;
  const createdAt = toTimestamp(info.createdAt);
  return {
    name,
    parent,
    kind: kinds[info.kind],
    createdAt,
    updatedAt: toTimestamp(info.updatedAt),
    labels: sendable(info.labels),
  };
}
