import { isCode } from '../errors.js';
import type { Implied, Superblock } from '../erofs/index.js';
import { makePipes, type PipeEnd } from '../host/index.js';
import { orAborted } from './content-digest.js';
import { failureOf } from './failure.js';
import type { Inspector, Relaying } from './inspector.js';
import type { RelayResult } from './relay.js';
import type { SizeLimit } from './size-limit.js';

/** What mkfs.erofs is given: a pipe that brings nothing unchecked. */
export interface CheckedTar {
  readonly tar: { readonly fd: number };
  /** Known, or rejected, at the tar's end. */
  readonly implied: Promise<Implied>;
  readonly signal: AbortSignal;
}

/** Where a tar comes from, and what is made of it. */
export interface Course {
  /** Writes the tar into a pipe, or is an open file. */
  readonly source:
    { readonly bring: (output: PipeEnd, signal: AbortSignal) => Promise<void> } | { readonly fd: number };
  /** Throws unless what was brought, so many bytes, is everything. */
  readonly confirm?: (bytes: number, signal: AbortSignal) => Promise<void>;
  /** Throws unless the tar is the one that was wanted. */
  readonly accept: (found: RelayResult, signal: AbortSignal) => Promise<void> | void;
  /** Called now and then, when mkfs.erofs has been given more. */
  readonly onAdvance: () => void;
  readonly makeImage: (tar: CheckedTar) => Promise<Superblock>;
}

export interface FlowOptions {
  readonly inspector: Inspector;
  readonly limit: SizeLimit;
  readonly signal: AbortSignal;
}

/**
 * Lets a tar flow from where it comes, through a thread that takes its digest and refuses what is wrong, to mkfs.erofs. All three work
 * at once, and what lies between them is no more than two pipes hold.
 *
 * @throws what failed first, which ends the others; why mkfs.erofs failed comes after what is wrong with the tar
 */
export async function flow(o: FlowOptions, course: Course): Promise<RelayResult & { readonly superblock: Superblock }> {
  const { source } = course;
  const [to, from] = makePipes();
  const stop = new AbortController();
  const signal = AbortSignal.any([o.signal, stop.signal]);
  const request = {
    input: 'fd' in source ? source.fd : from.reader.fd,
    output: to.writer.fd,
    limit: { bytes: o.limit.bytes, failure: failureOf(o.limit.error(), 'the layer') },
  };
  const relay = o.inspector.relay(request, course.onAdvance);
  // A tar that is refused early need not be brought to its end.
  void relay.refused.then((error) => stop.abort(error));
  const brought = 'fd' in source ? Promise.resolve() : source.bring(from.writer, signal);
  const relayed = relayWhole(
    brought.finally(() => from.writer.close()),
    relay,
    course,
    signal,
  );
  const whole = relayed.then(async (found) => {
    to.writer.close();
    await course.accept(found, signal);
    return found;
  });
  const implied = whole.then((found) => found.implied);
  const image = course.makeImage({ tar: to.reader, implied, signal }).finally(() => to.reader.close());
  image.catch((error: unknown) => {
    // A complaint about the tar can wait for what the thread has to say of it.
    if (!isCode(error, 'internal')) stop.abort(error);
  });
  try {
    return { ...(await whole), superblock: await image };
  } catch (error) {
    stop.abort(error);
    throw error;
  } finally {
    await Promise.allSettled([whole, implied, image]);
    // Their other ends are closed, so that the thread waits for neither of them.
    if (await relay.release()) for (const end of [from.reader, to.writer]) end.close();
  }
}

async function relayWhole(
  brought: Promise<void>,
  relay: Relaying,
  { confirm }: Course,
  signal: AbortSignal,
): Promise<RelayResult> {
  await brought;
  const bytes = await orAborted(relay.ended, signal);
  await confirm?.(bytes, signal);
  return orAborted(relay.finish(), signal);
}
