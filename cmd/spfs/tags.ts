import type { Command } from 'commander';
import { shortForm, toBase32 } from '../../src/spfs/index.js';
import { addCommand } from './command.js';
import { columns, printJson, printLines } from './output.js';
import { withSession } from './session.js';
import { cancellable } from './signals.js';

interface Given {
  readonly json?: true;
}

export function addTags(program: Command): void {
  addTag(program);
  addUntag(program);
  addList(program);
  addLog(program);
}

function addTag(program: Command): void {
  const command = addCommand(program, {
    usage: 'tag <ref> <name...>',
    description:
      'Gives a layer or a platform further tags. A tag that exists gets a new entry; its old ones stay as ~1, ~2 and so on.',
    examples: ['spfs tag XY64NZFA show/platform', 'spfs tag show/platform~1 show/platform'],
    json: true,
  });
  command.action(async (reference: string, names: readonly string[], given: Given) => {
    await cancellable((signal) =>
      withSession(command, async ({ companion }) => {
        const { kind, digest } = await companion.tag(reference, names, signal);
        if (given.json) await printJson({ kind, digest: toBase32(digest), tags: names });
        else await printLines(names.map((name) => `${shortForm(digest)} -> ${name}`));
      }),
    );
  });
}

function addUntag(program: Command): void {
  const command = addCommand(program, {
    usage: 'untag <name...>',
    description: `Removes tags with their histories. What no tag reaches any more is given up: its disks go as soon as nothing
runs from them.`,
    examples: ['spfs untag show/platform'],
    json: true,
  });
  command.action(async (names: readonly string[], given: Given) => {
    await cancellable((signal) =>
      withSession(command, async ({ companion }) => {
        const gone = await companion.untag(names, signal);
        if (given.json) await printJson({ removed: names, givenUp: gone.map(toBase32) });
        else
          await printLines([
            ...names.map((name) => `removed ${name}`),
            ...gone.map((each) => `gave up ${shortForm(each)}`),
          ]);
      }),
    );
  });
}

function addList(program: Command): void {
  const command = addCommand(program, {
    usage: 'tags [prefix]',
    description: 'Lists the tags, those that begin with a prefix: name, digest of the newest entry, number of entries.',
    examples: ['spfs tags show/'],
    json: true,
  });
  command.action(async (prefix: string | undefined, given: Given) => {
    await withSession(command, async ({ companion }) => {
      const tags = (await companion.tags(prefix)).flatMap(({ name, history }) => {
        const [newest] = history;
        return newest === undefined ? [] : [{ name, newest, entries: history.length }];
      });
      if (given.json) {
        await printJson(
          tags.map(({ name, newest, entries }) => ({
            name,
            digest: toBase32(newest.digest),
            user: newest.user,
            time: newest.time,
            entries,
          })),
        );
      } else
        await printLines(columns(tags.map((tag) => [tag.name, shortForm(tag.newest.digest), String(tag.entries)])));
    });
  });
}

function addLog(program: Command): void {
  const command = addCommand(program, {
    usage: 'log <name>',
    description: 'Shows the history of a tag, the newest entry first: what to write for it, digest, time, user.',
    examples: ['spfs log show/platform'],
    json: true,
  });
  command.action(async (name: string, given: Given) => {
    await withSession(command, async ({ companion }) => {
      const history = await companion.log(name);
      if (given.json) {
        await printJson(
          history.map(({ digest, user, time }, version) => ({ version, digest: toBase32(digest), user, time })),
        );
      } else {
        await printLines(
          columns(
            history.map(({ digest, user, time }, version) => [`${name}~${version}`, shortForm(digest), time, user]),
          ),
        );
      }
    });
  });
}
