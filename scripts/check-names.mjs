// Refuses a name that two files of the product export for different things: in one room always, in several unless it is listed here.
import { readdirSync, readFileSync } from 'node:fs';

/** Names that mean two things, each in its own room, and the rooms. Nothing imports both. */
const allowed = new Map([
  // Both programs have these.
  ['ConfigSources', 'config spfs'],
  ['Setting', 'config settings spfs'],
  ['SettingName', 'config spfs'],
  ['settings', 'config spfs'],
  ['report', 'cmd/erofs-snapshotter cmd/spfs'],
  ['Counters', 'metadata spfs'],
  ['Database', 'metadata spfs'],
  ['openDatabase', 'metadata spfs'],
  // The metadata's own errors are told from what the shared one says.
  ['fromLevel', 'leveldb metadata'],
  // Each format has its own.
  ['blockSize', 'diff erofs ext4'],
  ['Node', 'diff erofs'],
  ['impliedBy', 'diff erofs'],
  ['sizeOf', 'erofs settings'],
  ['text', 'diff settings'],
  ['shown', 'diff spfs'],
  // Words of two fields.
  ['Change', 'diff spfs'],
  ['Companion', 'metadata spfs'],
  ['Disk', 'vm vmdk'],
  ['FileKind', 'erofs spfs'],
  ['ImageOptions', 'erofs spfs'],
  ['Layer', 'erofs spfs'],
  ['Path', 'diff spfs'],
  ['Region', 'diff host'],
  ['follow', 'diff spfs'],
  ['layersOf', 'metadata spfs'],
  ['run', 'cmd/erofs-snapshotter host'],
]);

const declaration = /^export (?:abstract )?(?:async )?(?:function\*?|class|const|let|interface|type|enum) (\w+)/gm;

/** @param {string} file */
function roomOf(file) {
  const [, command, room] = /^(cmd\/[^/]+)\/|^src\/([^/]+)\//.exec(file) ?? [];
  return command ?? room ?? 'src';
}

/** @type {Map<string, string[]>} */
const exporters = new Map();
const listed = ['src', 'cmd'].flatMap((top) =>
  readdirSync(top, { recursive: true, encoding: 'utf8' }).map((path) => `${top}/${path}`),
);
for (const file of listed.filter((path) => path.endsWith('.ts') && !path.includes('/generated/'))) {
  for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(declaration)) {
    const files = exporters.get(name) ?? [];
    if (!files.includes(file)) exporters.set(name, [...files, file]);
  }
}

let clashes = 0;
for (const [name, files] of exporters) {
  if (files.length === 1 || allowed.get(name) === files.map(roomOf).sort().join(' ')) continue;
  clashes += 1;
  console.error(
    `${name} is exported by ${files.join(' and ')}: rename one, or list the rooms in scripts/check-names.mjs`,
  );
}
if (clashes > 0) process.exit(1);
console.log('every exported name has one meaning');
