import { describe, expect, it } from 'vitest';

import { LineReader, OutputReader, parseReport } from '../../src/vm/report.js';
import { ConsoleTail } from '../../src/vm/tail.js';
import { telnetBytes, TelnetReader } from '../../src/vm/telnet.js';

const token = 'abcabd';

/** Feeds `text` in pieces of `size` bytes. */
function read(text: string, size: number): { output: string; ended: boolean; rest: string } {
  const reader = new OutputReader(token);
  let output = '';
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) {
    const next = reader.push(bytes.subarray(at, at + size));
    output += next.output.toString();
    if (next.ended) return { output, ended: true, rest: reader.rest().toString() };
  }
  return { output, ended: false, rest: reader.rest().toString() };
}

describe('the end of an output', () => {
  it.each([1, 2, 3, 7, 1000])('is found when the port comes in pieces of %i bytes', (size) => {
    expect(read(`abcabcabd! ${token} end\n`, size)).toMatchObject({ output: 'abcabcabd! ', ended: true });
  });

  it('holds nothing back that cannot be the token', () => {
    expect(new OutputReader(token).push(Buffer.from('up\nab')).output.toString()).toBe('up\n');
  });

  it('is absent for a guest that ended in the middle, whose last bytes are not lost', () => {
    expect(read('output abcab', 5)).toEqual({ output: 'output ', ended: false, rest: 'abcab' });
  });
});

describe('the control port', () => {
  it('says when the command starts, how it ended, and why a guest failed', () => {
    const lines = new LineReader();
    const pieces = ['started 1.', '25\nexit 3\nfail no', ' disk\n'].flatMap((piece) => lines.push(Buffer.from(piece)));
    expect(pieces.map(parseReport)).toEqual([
      { kind: 'started', bootSeconds: 1.25 },
      { kind: 'exit', status: 3 },
      { kind: 'fail', reason: 'no disk' },
    ]);
  });
});

describe('TELNET', () => {
  it.each([1, 2, 1000])('loses its commands, and nothing else, in pieces of %i bytes', (size) => {
    const bytes = Buffer.from([0x61, 255, 253, 31, 0x62, 255, 255, 255, 250, 31, 1, 255, 240, 0x63]);
    const reader = new TelnetReader();
    const read: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) read.push(reader.push(bytes.subarray(at, at + size)));
    expect([...Buffer.concat(read)]).toEqual([0x61, 0x62, 255, 0x63]);
  });

  it('gets what would mean something to it escaped', () => {
    expect([...telnetBytes(Buffer.from([1, 255, 13, 10]))]).toEqual([1, 255, 255, 13, 0, 10]);
  });
});

describe('the tail of a stream', () => {
  it('keeps the last bytes, as text without terminal control', () => {
    const tail = new ConsoleTail(20);
    for (const piece of ['lost in the middle of it ', '\x1b[2J\x1b[01;31mpa', 'nic\r\n']) tail.push(Buffer.from(piece));
    expect(tail.text()).toBe('panic');
  });
});
