import { describe, expect, it } from 'vitest';

import { type Report, ReportReader } from '../../src/vm/report.js';
import { Tail } from '../../src/vm/tail.js';

const token = 'abcabd';

/** Feeds `text` in pieces of `size` bytes. */
function read(text: string, size: number): { output: string; report: Report | undefined; rest: string } {
  const reader = new ReportReader(token);
  let output = '';
  let report: Report | undefined;
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) {
    const next = reader.push(bytes.subarray(at, at + size));
    output += next.output.toString();
    report ??= next.report;
  }
  return { output, report, rest: reader.rest().toString() };
}

describe('the report at the end of the output', () => {
  it.each([1, 2, 3, 7, 1000])('is found when the port comes in pieces of %i bytes', (size) => {
    expect(read(`abcabcabd! ${token} exit 3 1.25\n`, size)).toMatchObject({
      output: 'abcabcabd! ',
      report: { kind: 'exit', status: 3, bootSeconds: 1.25 },
    });
  });

  it('holds nothing back that cannot be the token', () => {
    expect(new ReportReader(token).push(Buffer.from('up\nab')).output.toString()).toBe('up\n');
  });

  it('gives the reason of a guest that failed', () => {
    expect(read(`${token} fail no disk\n`, 4).report).toEqual({ kind: 'fail', reason: 'no disk' });
  });

  it('is absent for a guest that ended in the middle, whose last bytes are not lost', () => {
    expect(read('output abcab', 5)).toEqual({ output: 'output ', report: undefined, rest: 'abcab' });
  });
});

describe('the tail of a stream', () => {
  it('keeps the last bytes, as text without terminal control', () => {
    const tail = new Tail(20);
    for (const piece of ['lost in the middle of it ', '\x1b[2J\x1b[01;31mpa', 'nic\r\n']) tail.push(Buffer.from(piece));
    expect(tail.text()).toBe('panic');
  });
});
