/**
 * The arrows between the rooms, as in docs/architecture.md: a room may import those of a lower level, through their
 * index.ts alone; rooms of one level do not know each other; the files directly in src/ are everybody's foundation.
 */
const levels = [
  ['config', 'grpc', 'spfs', 'vm'],
  ['snapshots', 'diff'],
  ['layers', 'metadata'],
  ['erofs', 'vmdk', 'ext4', 'containerd', 'leveldb'],
  ['protocol', 'settings'],
  ['host'],
];

const rooms = levels.flat();
const inside = (names) => `^src/(${names.join('|')})/`;

const roomRules = levels.flatMap((level, index) =>
  level.map((room) => {
    const below = levels.slice(index + 1).flat();
    return {
      name: `arrows-of-${room}`,
      comment: `${room} may import ${below.length === 0 ? 'no other room' : below.join(', ')} and the foundation.`,
      severity: 'error',
      from: { path: inside([room]) },
      to: { path: '^(src/[^/]+|cmd|test|scripts)/', pathNot: inside([room, ...below]) },
    };
  }),
);

module.exports = {
  forbidden: [
    ...roomRules,
    {
      name: 'no-circles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'rooms-are-known',
      comment: 'A new room gets its level in .dependency-cruiser.cjs.',
      severity: 'error',
      from: { path: '^src/[^/]+/', pathNot: inside(rooms) },
      to: {},
    },
    {
      name: 'through-the-door',
      comment: 'Another room is reached through its index.ts.',
      severity: 'error',
      from: { path: '^src/([^/]+)/' },
      to: { path: '^src/[^/]+/.+', pathNot: ['^src/$1/', '^src/[^/]+/index\\.ts$'] },
    },
    {
      name: 'commands-through-the-door',
      comment: 'A command reaches a room through its index.ts, and no other command.',
      severity: 'error',
      from: { path: '^cmd/([^/]+)/' },
      to: { path: '^(src/[^/]+/|cmd/|test/|scripts/)', pathNot: ['^src/[^/]+/index\\.ts$', '^cmd/$1/'] },
    },
    {
      name: 'foundation-stands-alone',
      severity: 'error',
      from: { path: '^src/[^/]+\\.ts$' },
      to: { path: '^(src/[^/]+|cmd|test|scripts)/' },
    },
    {
      name: 'imports-resolve',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
