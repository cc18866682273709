import { SnapshotterError } from '../errors.js';
import { toInt64, toTimestamp, type SnapshotInfoMessage, type SnapshotsMethods } from '../protocol/index.js';
import type { SnapshotInfo } from '../snapshots/index.js';
import type { Handlers } from './calls.js';
import type { SnapshotterPort } from './ports.js';

/** Infos in one message of List: small enough for every limit, large enough that messages do not count. */
const pageSize = 100;

const kinds = { view: 'VIEW', active: 'ACTIVE', committed: 'COMMITTED' } as const;

/** Translates between messages and the snapshotter. The `snapshotter` field of a request is ours, whatever it says. */
export function snapshotsHandlers(snapshotter: SnapshotterPort<unknown, unknown>): Handlers<SnapshotsMethods> {
  return {
    Prepare: async ({ key, parent, labels }, { namespace, signal }) => ({
      mounts: await snapshotter.prepare({ key, parent, labels, namespace, signal }),
    }),
    View: async ({ key, parent, labels }, { namespace, signal }) => ({
      mounts: await snapshotter.view({ key, parent, labels, namespace, signal }),
    }),
    Mounts: async ({ key }) => ({ mounts: await snapshotter.mounts(key) }),
    Commit: async ({ name, key, labels, parent }, { signal }) => {
      await snapshotter.commit({ name, key, labels, signal, ...(parent === '' ? {} : { parent }) });
      return {};
    },
    Remove: async ({ key }) => {
      await snapshotter.remove(key);
      return {};
    },
    Stat: async ({ key }) => ({ info: toMessage(await snapshotter.stat(key)) }),
    Update: async ({ info, updateMask }) => {
      if (info === null) {
        throw new SnapshotterError('invalid-argument', 'the update names no snapshot', {
          next: 'set the field "info"',
        });
      }
      const { name, labels } = info;
      return { info: toMessage(await snapshotter.update({ name, labels }, updateMask?.paths ?? [])) };
    },
    List: async function* ({ filters }, { namespace }) {
      for await (const page of pagesOf(snapshotter.list(filters, namespace))) yield { info: page.map(toMessage) };
    },
    Usage: async ({ key }) => {
      const { bytes, inodes } = await snapshotter.usage(key);
      return { size: toInt64(bytes, 'a usage in bytes'), inodes: toInt64(inodes, 'a usage in inodes') };
    },
    Cleanup: async () => {
      await snapshotter.cleanup();
      return {};
    },
  };
}

async function* pagesOf(infos: AsyncIterable<SnapshotInfo>): AsyncGenerator<SnapshotInfo[]> {
  let page: SnapshotInfo[] = [];
  for await (const info of infos) {
    page.push(info);
    if (page.length < pageSize) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

function toMessage(info: SnapshotInfo): SnapshotInfoMessage {
  const { name, parent, labels } = info;
  const createdAt = toTimestamp(info.createdAt);
  return { name, parent, kind: kinds[info.kind], createdAt, updatedAt: toTimestamp(info.updatedAt), labels };
}
