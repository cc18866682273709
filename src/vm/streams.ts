import type { Readable, Writable } from 'node:stream';

import { OutputReader } from './report.js';

export interface OutputPort {
  readonly socket: NodeJS.ReadWriteStream;
  readonly token: string;
  readonly target: Writable;
  readonly decode?: (chunk: Buffer) => Buffer;
  /** Called once, when the target takes no more; what comes after is thrown away. */
  readonly onClosed: () => void;
}

/**
 * Hands what a port brings to its target, as fast as the target takes it: until then nothing more is read, and the guest waits.
 *
 * @returns true when the end of the output was seen, false when the port closed before.
 */
export async function pumpOutput({ socket, token, target, decode, onClosed }: OutputPort): Promise<boolean> {
  const reader = new OutputReader(token);
  const sink = new Sink(target, onClosed);
  try {
    for await (const chunk of chunksOf(socket)) {
      const { output, ended } = reader.push(decode ? decode(chunk) : chunk);
      await sink.write(output);
      if (ended) return true;
    }
    await sink.write(reader.rest());
    return false;
  } finally {
    sink.release();
  }
}

/** The socket stays open when its reader stops: closing it would tell the guest that the host is gone. */
function chunksOf(socket: NodeJS.ReadWriteStream): AsyncIterable<Buffer> {
  const iterator = (socket as unknown as Readable).iterator({ destroyOnReturn: false });
  return endingQuietly(iterator as AsyncIterable<Buffer>);
}

/** A socket that breaks when QEMU goes is no news: how QEMU ended says it all. */
async function* endingQuietly(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  try {
    yield* chunks;
  } catch {
    // Ended.
  }
}

/** The caller's stream, which may close at any time, and is never ended from here. */
class Sink {
  readonly #target: Writable;
  readonly #onClosed: () => void;
  #closed = false;
  /** Ends the wait for what the target holds. */
  #wake: () => void = () => undefined;
  readonly #close = () => {
    this.#wake();
    if (this.#closed) return;
    this.#closed = true;
    this.#onClosed();
  };

  constructor(target: Writable, onClosed: () => void) {
    this.#target = target;
    this.#onClosed = onClosed;
    // The error of the last write comes after everything else: its listener stays.
    target.on('error', this.#close).on('close', this.#close);
    if (target.destroyed || target.writableEnded) this.#close();
  }

  /** Returns when the target has taken the bytes. */
  async write(bytes: Buffer): Promise<void> {
    if (bytes.length === 0 || this.#closed) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#target.write(bytes, (error) => (error ? this.#close() : resolve()));
    });
  }

  release(): void {
    this.#target.off('close', this.#close);
  }
}

export interface InputOptions {
  readonly encode?: (chunk: Buffer) => Buffer;
  /** Called once when the source has ended, whether well or not. */
  readonly onEnd: () => void;
}

/**
 * Feeds a port from the caller's stream, as fast as the guest takes it.
 *
 * @returns what lets the stream go again.
 */
export function feedInput(
  source: Readable,
  socket: NodeJS.ReadWriteStream,
  { encode = (chunk) => chunk, onEnd }: InputOptions,
): () => void {
  let hasEnded = false;
  const end = () => {
    if (hasEnded) return;
    hasEnded = true;
    onEnd();
  };
  const resume = () => source.resume();
  const send = (chunk: Buffer | string) => {
    if (!socket.write(encode(Buffer.from(chunk)))) source.pause();
  };
  source.on('data', send).on('end', end).on('error', end).on('close', end);
  // The guest may close its end while this one still sends.
  socket.on('drain', resume).on('error', () => undefined);
  if (source.readableEnded || source.destroyed) end();
  return () => {
    source.off('data', send).off('end', end).off('close', end);
    socket.off('drain', resume);
    source.pause();
  };
}
