import { isCode, CodedError } from '../errors.js';
import type { Implied, Superblock } from '../erofs/index.js';
import { makePipe, type PipeEnd } from '../host/index.js';
import { orAborted, within } from '../waiting.js';
import { threadErrorOf } from '../thread-error.js';
import type { Inspector, Relaying } from './thread/inspector.js';
import type { RelayRequest, RelayResult } from './thread/relay.js';
import type { SizeLimit, SizeLimits } from './size-limit.js';

/** What mkfs.erofs is given: a pipe that brings headers of ours alone. */
export interface CanonicalTarEnd {
  readonly tar: PipeEnd;
  /** Known, or rejected, at the tar's end. */
  readonly implied: Promise<Implied>;
  readonly signal: AbortSignal;
}

/** Where a tar comes from, and what is made of it. */
export interface Course {
  /** Writes the tar into a pipe, or is a file. */
  readonly source:
    { readonly bring: (output: PipeEnd, signal: AbortSignal) => Promise<void> } | { readonly path: string };
  /** Throws unless what was brought, so many bytes, is everything. */
  readonly confirm?: (bytes: number, signal: AbortSignal) => Promise<void>;
  /** Throws unless the tar is the one that was wanted. */
  readonly accept: (found: RelayResult) => Promise<void> | void;
  /** Called now and then, when mkfs.erofs has been given more. */
  readonly onAdvance: () => void;
  /** Called again, after the first image was given up, for a tar that has to flow twice. */
  readonly makeImage: (tar: CanonicalTarEnd) => Promise<Superblock>;
}

export interface FlowOptions {
  readonly inspector: Inspector;
  readonly limits: SizeLimits;
  readonly signal: AbortSignal;
}

type Flowed = RelayResult & { readonly superblock: Superblock };

/** How long a conversion waits for the thread to let go of its ends, in milliseconds. They are closed when it has, and not before. */
const releaseMs = 5_000;

/**
 * Lets a tar flow from where it comes, through a thread that takes its digest, refuses what is wrong and writes its headers anew, to
 * mkfs.erofs. All three work at once, and what lies between them is no more than two pipes hold. A tar whose entries replace or change
 * each other is found odd on the way; it is then read to its end, and flows a second time.
 *
 * @throws what ended the others; a complaint of mkfs.erofs about the tar comes after what is wrong with the tar
 */
export async function flow(o: FlowOptions, course: Course): Promise<Flowed> {
  let first: Relaying | undefined;
  try {
    const found = await pass(o, course, (request) => (first = o.inspector.relay(request, course.onAdvance)));
    if (found.superblock) return { ...found, superblock: found.superblock };
    const again = await pass(o, course, (request) => o.inspector.relay(request, course.onAdvance, first));
    if (again.superblock && again.digest === found.digest) return { ...again, superblock: again.superblock };
    throw new CodedError('data-loss', 'the layer changed while it was converted', {
      facts: { first: found.digest, second: again.digest },
      next: 'pull the image again',
    });
  } finally {
    first?.forget();
  }
}

/** @returns no superblock when the tar was found odd */
async function pass(
  o: FlowOptions,
  course: Course,
  relay: (request: RelayRequest) => Relaying,
): Promise<RelayResult & { readonly superblock?: Superblock }> {
  const { source } = course;
  const ends: PipeEnd[] = [];
  const pipe = () => {
    const made = makePipe();
    ends.push(made.reader, made.writer);
    return made;
  };
  let relaying: Relaying | undefined;
  try {
    const to = pipe();
    const limits = { tar: sent(o.limits.tar), image: sent(o.limits.image) };
    const begin = (input: string | number) => (relaying = relay({ input, output: to.writer.fd, limits }));
    if ('path' in source) return await relayed(begin(source.path), () => Promise.resolve(), to, o.signal, course);
    const from = pipe();
    const bring = (signal: AbortSignal) => source.bring(from.writer, signal).finally(() => from.writer.close());
    return await relayed(begin(from.reader.fd), bring, to, o.signal, course);
  } finally {
    const closed = Promise.resolve(relaying?.release()).then(() => {
      for (const end of ends) end.close();
    });
    await within(releaseMs, closed);
  }
}

function sent({ bytes, error }: SizeLimit) {
  return { bytes, failure: threadErrorOf(error(), 'the layer') };
}

/** When it settles the programs are gone, and what they read and wrote is closed: the thread waits for nothing. */
async function relayed(
  relay: Relaying,
  bring: (signal: AbortSignal) => Promise<void>,
  to: { readonly reader: PipeEnd; readonly writer: PipeEnd },
  given: AbortSignal,
  { accept, confirm, makeImage }: Course,
): Promise<RelayResult & { readonly superblock?: Superblock }> {
  const stop = new AbortController();
  const signal = AbortSignal.any([given, stop.signal]);
  const givenUp = new AbortController();
  // A tar that is refused early need not be brought to its end.
  void relay.refused.then((error) => stop.abort(error));
  void relay.odd.then(() => givenUp.abort(new CodedError('cancelled', 'the layer is converted once more')));
  const takeWhole = async (): Promise<RelayResult> => {
    await bring(signal);
    const bytes = await orAborted(relay.ended, signal);
    await confirm?.(bytes, signal);
    const found = await orAborted(relay.finish(), signal);
    to.writer.close();
    await accept(found);
    return found;
  };
  const whole = takeWhole();
  const implied = whole.then((found) => found.implied);
  const imageSignal = AbortSignal.any([signal, givenUp.signal]);
  const image = makeImage({ tar: to.reader, implied, signal: imageSignal }).finally(() => to.reader.close());
  image.catch((error: unknown) => {
    // A complaint about the tar can wait for what the thread has to say of it.
    const isComplaint = isCode(error, 'internal') && error.facts['exitCode'] !== undefined;
    if (!isComplaint && !givenUp.signal.aborted) stop.abort(error);
  });
  try {
    const found = await whole;
    if (found.isOdd) return found;
    const superblock = await image;
    if (found.isRead) return { ...found, superblock };
    throw new CodedError('internal', 'mkfs.erofs ended well before it had read the whole tar');
  } catch (error) {
    stop.abort(error);
    throw error;
  } finally {
    await Promise.allSettled([whole, implied, image]);
  }
}
