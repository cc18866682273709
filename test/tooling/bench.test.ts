import { describe, expect, it } from 'vitest';
import { judge } from '../../scripts/bench/bars.js';
import { renderChart } from '../../scripts/bench/chart.js';
import { allParts, parseParts, parseRounds } from '../../scripts/bench/parts.js';
import { makeReport, quantity, renderMarkdown, renderText } from '../../scripts/bench/report.js';
import { Results } from '../../scripts/bench/results.js';
import { median, rotated, spread } from '../../scripts/bench/samples.js';
import { loggedLayers, stagesOfLayers } from '../../scripts/bench/stages.js';

const about = {
  date: '2030-01-02T03:04:05.000Z',
  run: { rounds: 3, quick: false, parts: allParts, image: { name: 'given', layers: [1_000_000, 2_500] } },
  machine: {
    cpu: 'a <fast> "CPU"',
    cores: 2,
    memory: 8e9,
    kernel: '6.12',
    filesystem: 'ext4',
    cachesDropped: true,
    loadBefore: 0.1,
  },
  versions: { commit: 'abc', node: '20.20.0', containerd: '2.1.9' },
};

function results(...samples: readonly (readonly [string, ...number[]])[]): Results {
  const collected = new Results();
  for (const [id, ...values] of samples) {
    for (const value of values) collected.add(id, `title of ${id}`, id.startsWith('memory') ? 'bytes' : 'ms', value);
  }
  return collected;
}

const verdict = (collected: Results, id: string) => judge(collected).find((bar) => bar.id === id)!;

describe('the numbers of a benchmark', () => {
  it('are medians with the least and the most, of odd and even counts', () => {
    expect(spread([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 });
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(() => median([])).toThrow(RangeError);
  });

  it('come from rounds of which each begins with the next contender', () => {
    expect([0, 1, 2, 3].map((round) => rotated(['a', 'b', 'c'], round).join(''))).toEqual(['abc', 'bca', 'cab', 'abc']);
  });

  it('are shown with three digits and the unit that fits', () => {
    expect([0.5, 12.34, 999, 1234, 61_000].map((value) => quantity(value, 'ms'))).toEqual([
      '0.50 ms',
      '12.3 ms',
      '999 ms',
      '1.23 s',
      '61.0 s',
    ]);
    expect([1024, 90e6, 1.5e9].map((value) => quantity(value, 'bytes'))).toEqual(['1.02 kB', '90.0 MB', '1.50 GB']);
  });
});

describe('a bar', () => {
  it('holds our median over theirs against its limit', () => {
    const pulls = results(['pull.ours', 5, 6, 100], ['pull.erofs', 10, 10, 10], ['pull.overlayfs', 15, 15, 15]);
    expect(verdict(pulls, 'pull-erofs')).toMatchObject({ value: 0.6, met: true });
    expect(verdict(pulls, 'pull-overlayfs')).toMatchObject({ value: 0.4, met: false });
  });

  it('of the re-pull leaves the fetch out, which is not ours, and never falls below zero', () => {
    const pulls = results(['pull.ours', 1000], ['repull.fetch', 100], ['repull.ours', 140]);
    expect(verdict(pulls, 'repull')).toMatchObject({ value: 0.04, met: true });
    expect(verdict(results(['pull.ours', 1000], ['repull.fetch', 150], ['repull.ours', 140]), 'repull').value).toBe(0);
  });

  it('without its measurements is not measured, with the reason, and neither met nor missed', () => {
    const some = results(['diff.walking', 10]);
    some.notMeasured('diff.ours', 'the daemon has none');
    expect(verdict(some, 'diff')).toMatchObject({ reason: 'the daemon has none' });
    expect(verdict(some, 'diff')).not.toHaveProperty('met');
    expect(verdict(some, 'pull-erofs').reason).toBe('not part of this run');
  });
});

describe('the report', () => {
  const collected = results(['pull.ours', 2000, 3000], ['pull.erofs', 9000, 8000], ['memory.idle', 95e6]);
  collected.notMeasured('pull.overlayfs', 'the kernel | has no overlay');
  const report = makeReport(collected, about);

  it('says what is met, missed and not measured, and shows a number without a peer as no ratio', () => {
    const text = renderText(report);
    expect(text).toMatch(/^pull, against the built-in erofs +2\.50 s +8\.50 s +0\.294 +0\.600 \(aim 0\.450\) +met$/m);
    expect(text).toMatch(/^pull, against overlayfs +0\.350 +not measured$/m);
    expect(text).toMatch(/^pull, against overlayfs +the kernel \| has no overlay$/m);
    expect(text).toMatch(/^memory of the daemon, idle +95\.0 MB +95\.0 MB +90\.0 MB +MISSED$/m);
  });

  it('as Markdown escapes what would break a table', () => {
    expect(renderMarkdown(report, 'x.svg')).toContain('the kernel \\| has no overlay');
  });

  it('as a chart is well-formed, with a bar for each pull and each verdict', () => {
    const chart = renderChart(report);
    expect(chart).toContain('a &lt;fast&gt; &quot;CPU&quot;');
    expect(chart.match(/<rect [^>]*height="18"/g)).toHaveLength(4);
    expect(chart).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe('the stages of Apply', () => {
  const line = (digest: string, convertMs: number) =>
    JSON.stringify({ msg: 'converted a layer', digest, tarBytes: 10, convertMs, flushMs: 1 });

  it("are medians of the daemon's log lines, by layer, and a cut line says nothing", () => {
    const log = [line('a', 4), '{"msg":"converted a layer","dig', line('b', 9), line('a', 2), 'other'].join('\n');
    expect(stagesOfLayers(loggedLayers(log), ['b', 'a', 'c'])).toEqual([
      { digest: 'b', tarBytes: 10, stages: { convert: 9, flush: 1 } },
      { digest: 'a', tarBytes: 10, stages: { convert: 3, flush: 1 } },
    ]);
  });
});

describe('the options of the benchmark', () => {
  it('name benchmarks and rounds, and refuse what there is not', () => {
    expect(parseParts('merge, diff')).toEqual(['merge', 'diff']);
    expect(() => parseParts('merge,nothing')).toThrow(/no benchmark "nothing"; there are: pull, repull, prepare/);
    expect(parseRounds('7')).toBe(7);
    for (const text of ['0', '-1', '1.5', '101', 'x', '']) expect(() => parseRounds(text)).toThrow(/whole number/);
  });
});
