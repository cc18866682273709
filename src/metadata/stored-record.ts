import { z } from 'zod';
import { CodedError } from '../errors.js';
import { isDigest, listedOldestFirst, type Digest } from '../vocabulary.js';
import { layersOf, recordFrom, type RecordFields, type Serve, type SnapshotRecord } from './record.js';

/**
 * The version of the stored JSON, of the LevelDB value and of snapshot.json alike. See UPGRADING.md. A record is written in the
 * oldest version that can hold it, so that an upgrade by itself rewrites none: 2 brought `namespace`, 3 `layer.rules`,
 * `serve.rules`, `serve.inlays` and `revision`.
 */
const recordVersion = 3;

const fileName = z
  .string()
  .regex(/^[^/\0]{1,255}$/)
  .refine((name) => name !== '.' && name !== '..');
const id = z.int().min(1);
const digest = z.custom<Digest>((value) => typeof value === 'string' && isDigest(value), 'not a sha256 digest');

const imageServe = z
  .strictObject({
    shape: z.literal('image'),
    image: z.enum(['none', 'single', 'merged', 'separate']),
    merged: id.optional(),
    rules: z.literal('overlay').optional(),
    inlays: z.array(id).readonly().optional(),
    layers: z.array(id).readonly(),
    files: z.array(fileName).readonly(),
    writable: z.boolean(),
  })
  .refine((serve) => serve.layers.length === serve.files.length, 'layers and files differ in number')
  .refine((serve) => (serve.image === 'merged') === (serve.merged !== undefined), 'merged does not fit image')
  .refine((serve) => serve.rules === undefined || serve.image === 'merged', 'rules do not fit image')
  .refine((serve) => (serve.rules === undefined) === (serve.inlays === undefined), 'inlays do not fit rules')
  .refine((serve) => layerCountFits(serve.image, serve.layers.length), 'the number of layers does not fit image');

function layerCountFits(image: 'none' | 'single' | 'merged' | 'separate', count: number): boolean {
  if (image === 'none') return count === 0;
  return image === 'single' ? count === 1 : count >= 2;
}

const storedServe = z.discriminatedUnion('shape', [
  z.strictObject({ shape: z.literal('extract') }),
  z.strictObject({ shape: z.literal('empty-view') }),
  imageServe,
]);

// Strict: a field that this version does not know belongs to a newer version, and rewriting the record would drop it.
const storedRecord = z.strictObject({
  id,
  key: z.string().min(1),
  kind: z.enum(['view', 'active', 'committed']),
  parent: z.string(),
  labels: z.record(z.string(), z.string()).readonly(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  role: z.enum(['extract', 'container', 'view']),
  namespace: z.string().min(1).optional(),
  serve: storedServe.optional(),
  writableBytes: z.int().min(0).optional(),
  layer: z
    .strictObject({
      file: fileName,
      uuid: z.string().min(1),
      blocks: z.int().min(0),
      rules: z.int().min(1).optional(),
      applied: z.strictObject({ digest, diffId: digest, tarBytes: z.int().min(0), modified: z.string() }).optional(),
    })
    .optional(),
  usage: z.strictObject({ bytes: z.int().min(0), inodes: z.int().min(0) }).optional(),
  revision: z.int().min(1).optional(),
  quarantine: z.string().optional(),
});

/**
 * Reads a stored record: the text of a snapshot.json or of a LevelDB value, or that text already parsed.
 *
 * @param where the file or key, for messages
 * @throws CodedError `data-loss` naming `where` and the field; `failed-precondition` when a newer version wrote it
 */
export function parseRecord(json: unknown, where: string): SnapshotRecord {
  const value: unknown = typeof json === 'string' ? parseJson(json, where) : json;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw broken(where, 'it is not an object');
  const { version, ...fields } = value as Record<string, unknown>;
  checkVersion(version, where);
  const parsed = storedRecord.safeParse(fields);
  if (parsed.success) {
    const { serve, ...others } = parsed.data;
    return recordFrom({ ...others, serve: serve && serveFrom(serve) });
  }
  const issue = parsed.error.issues[0];
  const field = issue && issue.path.length > 0 ? `field "${issue.path.join('.')}": ` : '';
  throw broken(where, `${field}${issue?.message ?? 'not a record'}`, parsed.error);
}

type StoredServe = z.output<typeof storedServe>;
type StoredRecord = z.output<typeof storedRecord>;

/**
 * `layers` (snapshot ids) and `files` (names in those snapshots' folders) run oldest first. `rules` and `inlays` are there when
 * mkfs.erofs alone would merge the layers wrongly: the merged image then lies in the `merged/` of the folder of `merged`, and above
 * the layers of these numbers (counted from 1, oldest first) it has the `inlay-<n>.erofs` there.
 */
function serveFrom(stored: StoredServe): Serve {
  if (stored.shape !== 'image') return stored;
  const { shape, image, writable, merged, rules = 'mkfs', inlays = [], files } = stored;
  const layers = listedOldestFirst(
    stored.layers.flatMap((id, index) => files.slice(index, index + 1).map((file) => ({ id, file }))),
  );
  const [oldest] = layers;
  if (oldest === undefined || image === 'none') return { shape, image: 'none', writable };
  if (image === 'single') return { shape, image, layer: oldest, writable };
  if (merged === undefined) return { shape, image: 'separate', layers, writable };
  return { shape, image: 'merged', merged: { id: merged, plan: { rules, inlays } }, layers, writable };
}

function storedServeOf(serve: Serve): StoredServe {
  if (serve.shape !== 'image') return serve;
  const { shape, image, writable } = serve;
  const layers = layersOf(serve);
  const listed = { layers: layers.map(({ id }) => id), files: layers.map(({ file }) => file), writable };
  if (serve.image !== 'merged') return { shape, image, ...listed };
  const { id, plan } = serve.merged;
  const how = plan.rules === 'overlay' ? { rules: plan.rules, inlays: plan.inlays } : {};
  return { shape, image, merged: id, ...how, ...listed };
}

/** The text of a record, its fields in the order of {@link storedRecord}: the same record is the same text in every release. */
export function serializeRecord(record: SnapshotRecord): string {
  const fields: RecordFields = record;
  const { id, key, kind, parent, labels, createdAt, updatedAt, role, namespace } = fields;
  const { writableBytes, layer, usage, revision, quarantine } = fields;
  const serve = fields.serve && storedServeOf(fields.serve);
  const first = { id, key, kind, parent, labels, createdAt, updatedAt, role, namespace, serve };
  const stored: StoredRecord = { ...first, writableBytes, layer, usage, revision, quarantine };
  return JSON.stringify({ version: versionOf(stored), ...stored });
}

/** The oldest version that can hold the record. */
function versionOf({ namespace, layer, serve, revision }: StoredRecord): number {
  if (layer?.rules !== undefined || revision !== undefined) return 3;
  if (serve?.shape === 'image' && serve.rules !== undefined) return 3;
  return namespace === undefined ? 1 : 2;
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw broken(where, 'it is not JSON', cause);
  }
}

function checkVersion(version: unknown, where: string): void {
  if (version === 1 || version === 2 || version === recordVersion) return;
  if (typeof version === 'number' && version > recordVersion) {
    throw new CodedError('failed-precondition', `${where} has format version ${version}`, {
      facts: { where, version, newestKnown: recordVersion },
      next: `run a release that knows it (this one knows up to ${recordVersion}), see UPGRADING.md`,
    });
  }
  throw broken(where, `field "version": expected 1 to ${recordVersion}`);
}

function broken(where: string, detail: string, cause?: unknown): CodedError {
  return new CodedError('data-loss', `the snapshot record ${where} cannot be read: ${detail}`, {
    facts: { where },
    next: 'restart the daemon to recover from the snapshot.json files, or remove the snapshot',
    cause,
  });
}
