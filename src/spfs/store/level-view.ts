import type { Digest } from '../../vocabulary.js';
import { toBase32 } from '../digest.js';
import type { StoredObject, TagEntry } from '../model.js';
import { fromStore, type Database } from './database.js';
import { parseEntry, parseObject } from './records.js';
import type { StoreView, TagStream } from './view.js';

/** One entry of a tag with its place in the history: sequences grow, the first is 1. */
export interface Row {
  readonly sequence: number;
  readonly entry: TagEntry;
}

/** Behind every character of a key: digests and tag names are ASCII. */
const afterAll = '\x7f';

export function rowKey(name: string, sequence: number): string {
  return `${name}\0${String(sequence).padStart(16, '0')}`;
}

/** What is in the database. {@link Change} puts over it what is not there yet. */
export class LevelView implements StoreView {
  protected readonly database: Database;

  constructor(database: Database) {
    this.database = database;
  }

  object(digest: Digest): Promise<StoredObject | undefined> {
    return this.readObject(toBase32(digest));
  }

  objects(): Promise<readonly StoredObject[]> {
    return this.startingWith('');
  }

  async startingWith(partialBase32: string): Promise<readonly StoredObject[]> {
    // Padding after a part of a digest says nothing; that of a whole one is the same everywhere.
    const found = await this.readObjects(partialBase32.replace(/=+$/, ''));
    return [...found].sort(byKey).map(([, object]) => object);
  }

  async history(name: string): Promise<readonly TagEntry[]> {
    return (await this.readRows(name)).map(({ entry }) => entry);
  }

  async tags(prefix = ''): Promise<readonly TagStream[]> {
    const found = await this.readStreams(prefix);
    return [...found].sort(byKey).map(([name, rows]) => ({ name, history: rows.map(({ entry }) => entry) }));
  }

  async namesOf(digest: Digest): Promise<readonly string[]> {
    return (await this.tags()).filter(({ history }) => history[0]?.digest === digest).map(({ name }) => name);
  }

  protected async readObject(base32: string): Promise<StoredObject | undefined> {
    const text = await this.using(({ objects }) => objects.get(base32));
    return text === undefined ? undefined : parseObject(text, base32);
  }

  protected async readObjects(prefix: string): Promise<Map<string, StoredObject>> {
    const range = { gte: prefix, lt: `${prefix}${afterAll}` };
    const found = await this.using(({ objects }) => objects.iterator(range).all());
    return new Map(found.map(([base32, text]) => [base32, parseObject(text, base32)]));
  }

  /** Newest first. */
  protected async readRows(name: string): Promise<readonly Row[]> {
    const found = await this.using(({ tags }) => tags.iterator({ gt: `${name}\0`, lt: `${name}\x01` }).all());
    return found.map(([key, text]) => parseRow(key, text).row).reverse();
  }

  protected async readStreams(prefix: string): Promise<Map<string, readonly Row[]>> {
    const found = await this.using(({ tags }) => tags.iterator({ gte: prefix, lt: `${prefix}${afterAll}` }).all());
    const streams = new Map<string, Row[]>();
    for (const [key, text] of found.reverse()) {
      const { name, row } = parseRow(key, text);
      const stream = streams.get(name);
      if (stream) stream.push(row);
      else streams.set(name, [row]);
    }
    return streams;
  }

  protected async using<T>(work: (database: Database) => Promise<T>): Promise<T> {
    try {
      return await work(this.database);
    } catch (error) {
      throw fromStore(error, this.database.folder);
    }
  }
}

function parseRow(key: string, text: string): { name: string; row: Row } {
  const [name = '', sequence = ''] = key.split('\0');
  return { name, row: { sequence: Number(sequence), entry: parseEntry(text, `an entry of the tag ${name}`) } };
}

function byKey([left]: readonly [string, unknown], [right]: readonly [string, unknown]): number {
  return left < right ? -1 : 1;
}
