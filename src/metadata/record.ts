import { z } from 'zod';
import { SnapshotterError } from '../errors.js';
import { isDigest, type Digest } from '../vocabulary.js';

/**
 * The version of the stored JSON, of the LevelDB value and of snapshot.json alike. See UPGRADING.md. A record is written in the
 * oldest version that can hold it, so that an upgrade by itself rewrites none: 2 brought `namespace`, 3 `layer.rules`,
 * `serve.rules`, `serve.inlays`
 * and `revision`.
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

const serve = z.discriminatedUnion('shape', [
  z.strictObject({ shape: z.literal('extract') }),
  z.strictObject({ shape: z.literal('empty-view') }),
  imageServe,
]);

// Strict: a field that this version does not know belongs to a newer version, and rewriting the record would drop it.
const snapshotRecord = z.strictObject({
  id,
  key: z.string().min(1),
  kind: z.enum(['view', 'active', 'committed']),
  parent: z.string(),
  labels: z.record(z.string(), z.string()).readonly(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  role: z.enum(['extract', 'container', 'view']),
  namespace: z.string().min(1).optional(),
  serve: serve.optional(),
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
 * How a View or Active is served, decided once when it is created and kept for its life: the same key gives the same
 * mounts, across restarts and upgrades.
 *
 * `image`: `none` without a parent, `single` one layer by itself, `merged` through the fsmeta.erofs in the folder of the
 * committed snapshot `merged`, `separate` one EROFS mount a layer because merging was impossible. `layers` (snapshot ids)
 * and `files` (names in those snapshots' folders) run oldest first. `rules` and `inlays` are there when mkfs.erofs alone would merge
 * the layers wrongly: the merged image then lies in that folder's `merged/`, and above the layers of these numbers (counted from 1,
 * oldest first) it has the `inlay-<n>.erofs` there.
 */
export type Serve = z.output<typeof serve>;

/**
 * What the store knows about one snapshot. `key` is the key of a View or Active, the name of a committed one; `parent`
 * is a committed name or '' for none; times are ISO 8601 in UTC. `role` is what it was prepared as and survives Commit, as
 * does `namespace`, the containerd namespace of the call that made it (absent when version 1 wrote it).
 * `revision` counts the changes of the record, from 1 when it was made; it tells whether LevelDB lost the latest (absent when version 2
 * or older wrote it). `quarantine` says why it cannot be used. `layer.rules` is the version of the rules that its conversion followed. `layer.applied` is there when Apply made the layer: the digest of the blob it
 * came from, the digest and size in bytes of the tar in it, and the image's time of modification in nanoseconds, by which
 * a later change is noticed.
 */
export type SnapshotRecord = Readonly<z.output<typeof snapshotRecord>>;

/**
 * Reads a stored record: the text of a snapshot.json or of a LevelDB value, or that text already parsed.
 *
 * @param where the file or key, for messages
 * @throws SnapshotterError `data-loss` naming `where` and the field; `failed-precondition` when a newer version wrote it
 */
export function parseRecord(json: unknown, where: string): SnapshotRecord {
  const value: unknown = typeof json === 'string' ? parseJson(json, where) : json;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw broken(where, 'it is not an object');
  const { version, ...fields } = value as Record<string, unknown>;
  checkVersion(version, where);
  const parsed = snapshotRecord.safeParse(fields);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue && issue.path.length > 0 ? `field "${issue.path.join('.')}": ` : '';
  throw broken(where, `${field}${issue?.message ?? 'not a record'}`, parsed.error);
}

/** How often the record was changed; 0 when no release counted it. */
export function revisionOf({ revision }: Pick<SnapshotRecord, 'revision'>): number {
  return revision ?? 0;
}

/** The record as the change after `before`. */
export function revised(record: SnapshotRecord, before: SnapshotRecord): SnapshotRecord {
  const { quarantine, revision: _given, ...fields } = record;
  const revision = revisionOf(before) + 1;
  return { ...fields, revision, ...(quarantine === undefined ? {} : { quarantine }) };
}

export function serializeRecord(record: SnapshotRecord): string {
  return JSON.stringify({ version: versionOf(record), ...record });
}

/** The oldest version that can hold the record. */
function versionOf({ namespace, layer, serve, revision }: SnapshotRecord): number {
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
    throw new SnapshotterError('failed-precondition', `${where} has format version ${version}`, {
      facts: { where, version, newestKnown: recordVersion },
      next: `run a release that knows it (this one knows up to ${recordVersion}), see UPGRADING.md`,
    });
  }
  throw broken(where, `field "version": expected 1 to ${recordVersion}`);
}

function broken(where: string, detail: string, cause?: unknown): SnapshotterError {
  return new SnapshotterError('data-loss', `the snapshot record ${where} cannot be read: ${detail}`, {
    facts: { where },
    next: 'restart the daemon to recover from the snapshot.json files, or remove the snapshot',
    cause,
  });
}
