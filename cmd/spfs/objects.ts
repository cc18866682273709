import type { Command } from 'commander';
import { shortForm, toBase32, type Described, type NamedDigest, type NamedObject } from '../../src/spfs/index.js';
import { addCommand } from './command.js';
import { columns, printJson, printLines } from './output.js';
import { withSession, type Session } from './session.js';

interface Given {
  readonly json?: true;
}

export function addObjects(program: Command): void {
  addInfo(program);
  addObjectList(program, 'layers', 'layer', ({ companion }) => companion.layers());
  addObjectList(program, 'platforms', 'platform', ({ companion }) => companion.platforms());
}

function addInfo(program: Command): void {
  const command = addCommand(program, {
    usage: 'info [refs]',
    description:
      'Shows what an env spec stands for, the top of each stack first. Without one: where things are, and how many.',
    examples: ['spfs info show/platform+/projects/show/layer.spfs.yaml'],
    json: true,
  });
  command.action(async (refs: string | undefined, given: Given) => {
    await withSession(command, async (session) => {
      if (refs === undefined) return showOverview(session, given);
      const described = await session.companion.describe(refs);
      if (given.json) await printJson(described.map(jsonOf));
      else await printLines(described.flatMap(linesOf));
    });
  });
}

async function showOverview({ companion, config }: Session, given: Given): Promise<void> {
  const counts = await companion.counts();
  const { storageRoot, containerdAddress, snapshotter, configFiles } = config;
  if (given.json) return printJson({ ...counts, storageRoot, containerdAddress, snapshotter, configFiles });
  const rows = [
    ...Object.entries(counts).map(([name, count]) => [name, String(count)]),
    ['storage root', storageRoot],
    ['containerd', `${containerdAddress}, snapshotter ${snapshotter}`],
    ['configuration', configFiles.length === 0 ? 'none' : configFiles.join(', ')],
  ];
  await printLines(columns(rows));
}

/** As the original prints it. */
function linesOf(described: Described): string[] {
  if (described.kind === 'live-layer') {
    const { file, binds } = described.layer;
    const lines = binds.map(({ source, destination }) => `  - ${source} -> ${destination}`);
    return ['live layer:', ` file: ${file}`, ' contents:', ...lines];
  }
  const { object, tags, stack } = described;
  const lines = [`${object.kind}:`, ` refs: ${referred({ digest: object.digest, tags })}`, ` from: ${object.origin}`];
  if (object.kind === 'layer') return lines;
  return [...lines, ' stack:', ...[...stack].reverse().map((layer) => `  - ${referred(layer)}`)];
}

function referred({ digest, tags }: NamedDigest): string {
  return tags.length === 0 ? shortForm(digest) : `${shortForm(digest)} -> ${tags.join(', ')}`;
}

function jsonOf(described: Described): unknown {
  if (described.kind === 'live-layer') {
    const { file, binds } = described.layer;
    return { kind: 'live-layer', file, contents: binds };
  }
  const { object, tags, stack } = described;
  const layers = [...stack].reverse().map((layer) => ({ ...digestOf(layer.digest), tags: layer.tags }));
  return { kind: object.kind, ...jsonOfObject({ object, tags }), stack: layers };
}

function jsonOfObject({ object, tags }: NamedObject) {
  const { kind, digest, createdAt, origin } = object;
  return { ...(kind === 'layer' ? digestOf(digest) : { digest: toBase32(digest) }), tags, createdAt, origin };
}

/** A layer's digest in both spellings. */
function digestOf(diffId: NamedDigest['digest']) {
  return { digest: toBase32(diffId), diffId };
}

function addObjectList(
  program: Command,
  name: string,
  one: string,
  list: (session: Session) => Promise<readonly NamedObject[]>,
): void {
  const command = addCommand(program, {
    usage: name,
    description: `Lists every ${one}: digest, where it came from, tags.`,
    examples: [`spfs ${name}`],
    json: true,
  });
  command.action(async (given: Given) => {
    await withSession(command, async (session) => {
      const objects = await list(session);
      if (given.json) {
        await printJson(
          objects.map((each) => ({
            ...jsonOfObject(each),
            ...(each.object.kind === 'platform' ? { layers: each.object.layers.length } : {}),
          })),
        );
      } else
        await printLines(
          columns(objects.map(({ object, tags }) => [shortForm(object.digest), object.origin, tags.join(', ')])),
        );
    });
  });
}
