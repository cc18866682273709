import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * A case in one file: sections that begin with a line `-- name --`, as in Go's txtar. Their text is what follows, up to the next
 * such line.
 *
 * `-- name (JSON) --` is for what is no text of whole lines: a JSON string, of which each character is a byte in a file of a tree.
 */
export interface Case {
  readonly path: string;
  readonly name: string;
  readonly sections: readonly Section[];
}

export interface Section {
  readonly name: string;
  readonly text: string;
  readonly json: boolean;
}

const head = /^-- (.*?)( \(JSON\))? --$/;

/** Every `.txtar` file of a folder. */
export function casesOf(folder: string): readonly Case[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.txtar'))
    .map((file) => {
      const path = join(folder, file);
      return { path, name: basename(file, '.txtar'), sections: sectionsOf(readFileSync(path, 'utf8'), path) };
    });
}

function sectionsOf(text: string, path: string): Section[] {
  const sections: { name: string; json: boolean; lines: string[] }[] = [];
  for (const line of text.replace(/\n$/, '').split('\n')) {
    const found = head.exec(line);
    if (found) sections.push({ name: found[1] ?? '', json: found[2] !== undefined, lines: [] });
    else (sections.at(-1) ?? fail(path, 'its first line names no section')).lines.push(line);
  }
  return sections.map(({ name, json, lines }) => {
    const whole = lines.map((line) => `${line}\n`).join('');
    return { name, json, text: json ? (JSON.parse(whole) as string) : whole };
  });
}

/** The text of a section; undefined when the case has none of that name. */
export function section({ sections }: Case, name: string): string | undefined {
  return sections.find((each) => each.name === name)?.text;
}

/** The text of a section that every case has. */
export function needed(one: Case, name: string): string {
  return section(one, name) ?? fail(one.path, `it has no section "${name}"`);
}

/** Makes the files of a case below a folder: sections whose names begin with a slash, of which `/a -> b` is a symlink. */
export async function makeTree({ sections }: Case, folder: string): Promise<void> {
  for (const { name, text, json } of sections.filter((each) => each.name.startsWith('/'))) {
    const [path = '', target] = name.split(' -> ');
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    if (target !== undefined) await symlink(target, file);
    else await writeFile(file, text, json ? 'latin1' : 'utf8');
  }
}

/** Writes another text into a section of the file. */
export async function rewrite({ path }: Case, name: string, text: string): Promise<void> {
  const lines = (await readFile(path, 'utf8')).split('\n');
  const from = lines.indexOf(`-- ${name} --`) + 1;
  const next = lines.findIndex((line, at) => at >= from && head.test(line));
  const rest = next === -1 ? [''] : lines.slice(next);
  await writeFile(path, [...lines.slice(0, from), ...text.replace(/\n$/, '').split('\n'), ...rest].join('\n'));
}

function fail(path: string, what: string): never {
  throw new Error(`${path}: ${what}`);
}
