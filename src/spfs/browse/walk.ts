import { CodedError } from '../../errors.js';
import type { ErofsFile, ErofsFiles } from '../../erofs/index.js';
import { printableName } from './names.js';

/** Where a run has the stack. */
const stackRoot = '/spfs';
/** As many as the kernel follows. */
const mostSymlinks = 40;

/** What a path leads to. `path` is below the stack's root, without symlinks; empty for the root itself. */
export interface Found {
  readonly path: string;
  readonly file: ErofsFile;
}

interface Step {
  readonly name: string;
  readonly file: ErofsFile;
}

/** A path as people write it: with `/spfs`, with a slash, or without. Byte strings. */
export function belowStack(path: string): string {
  return path === stackRoot || path.startsWith(`${stackRoot}/`) ? path.slice(stackRoot.length) : path;
}

/**
 * Follows a path as a command of a run does in `/spfs`: symlinks too, but those that lead out of the stack lead to what the
 * stack does not have.
 *
 * @param reference what the stack is called, for messages
 * @param path a byte string
 * @throws CodedError `not-found` naming the reference, the path and the part that is missing
 */
export function follow(files: ErofsFiles, reference: string, path: string): Found {
  const fault = (why: string) => missing(reference, path, why);
  const steps: Step[] = [];
  const here = () => steps.at(-1)?.file ?? files.root();
  const shown = (name: string) => printableName(`/${[...steps.map((step) => step.name), name].join('/')}`);
  const pending = partsOf(belowStack(path)).reverse();
  let symlinks = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (here().kind !== 'directory')
      throw fault(`${printableName(pathOf(steps))} is a ${here().kind} and no directory`);
    if (name === '.') continue;
    if (name === '..') {
      if (steps.pop() === undefined) throw fault(`it leads out of ${stackRoot}`);
      continue;
    }
    const file = files.find(here(), name);
    if (file === undefined) throw fault(`there is no ${shown(name)}`);
    if (file.kind !== 'symlink') {
      steps.push({ name, file });
      continue;
    }
    symlinks += 1;
    if (symlinks > mostSymlinks) throw fault(`the symlink ${shown(name)} leads to itself, or through too many others`);
    const target = files.linkTarget(file);
    if (target.startsWith('/')) {
      const below = belowStack(target);
      if (below === target)
        throw fault(`the symlink ${shown(name)} leads out of ${stackRoot}, to ${printableName(target)}`);
      steps.length = 0;
      pending.push(...partsOf(below).reverse());
    } else {
      pending.push(...partsOf(target).reverse());
    }
  }
  return { path: pathOf(steps), file: here() };
}

/** A trailing slash asks for a directory, as `/.` does. */
function partsOf(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return path.endsWith('/') ? [...parts, '.'] : parts;
}

function pathOf(steps: readonly Step[]): string {
  return steps.map(({ name }) => `/${name}`).join('');
}

function missing(reference: string, path: string, why: string): CodedError {
  const shown = printableName(path);
  return new CodedError('not-found', `${reference} has no ${shown}: ${why}`, {
    facts: { reference, path: shown },
    next: `\`spfs ls ${reference} PATH\` shows what is there`,
  });
}
