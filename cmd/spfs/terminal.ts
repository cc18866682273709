import type { Guest } from '../../src/vm/index.js';
import { Interrupted } from './signals.js';

/** Ctrl-], three times within a second: the way out of a guest that listens to nothing any more. */
const escape = 0x1d;
const escapes = 3;
const escapeMs = 1000;

/** Hands the terminal to the guest: every key is the guest's. @returns what takes it back; it is taken back at exit in any case. */
export function enterTerminal(guest: Guest, stop: AbortController): () => void {
  const { stdin, stdout } = process;
  const resized = () => guest.resize(stdout.columns, stdout.rows);
  let pressed: number[] = [];
  const typed = (chunk: Buffer) => {
    const now = performance.now();
    for (const byte of chunk) pressed = byte === escape ? [...pressed, now] : [];
    pressed = pressed.filter((at) => now - at < escapeMs);
    if (pressed.length >= escapes) stop.abort(new Interrupted('SIGINT'));
  };
  const leave = () => {
    process.off('exit', leave);
    stdout.off('resize', resized);
    stdin.off('data', typed);
    stdin.setRawMode(false);
  };
  process.once('exit', leave);
  stdin.setRawMode(true);
  stdin.on('data', typed);
  stdout.on('resize', resized);
  resized();
  return leave;
}
