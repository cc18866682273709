import { describe, expect, test } from 'vitest';
import { isCode, CodedError } from '../../src/errors.js';
import { Patterns } from '../../src/metadata/filter-pattern.js';
import { compileFilters, type FilterSubject } from '../../src/metadata/index.js';
import { seededRandom } from './support.js';

const subject: FilterSubject = {
  name: 'default/12/k8s.io app',
  kind: 'committed',
  parent: 'sha256:aa',
  labels: {
    plain: 'yes',
    empty: '',
    'a.b.c': 'dotted',
    'containerd.io/snapshot.ref': 'sha256:bb',
    'odd "key", with\ttab': 'odd "value", \\ ü',
    version: '1.2.3',
  },
};
const rootless: FilterSubject = { ...subject, parent: '', labels: {} };

const matches = (filters: readonly string[], info = subject) => compileFilters(filters)(info);

describe('what matches', () => {
  test.each<[string, boolean]>([
    // name, kind, parent
    ['name=="default/12/k8s.io app"', true],
    ['name==default/12/k8s.io', false],
    ['kind==committed', true],
    ['kind==active', false],
    ['kind!=active', true],
    ['parent==sha256:aa', true],
    ['parent!="sha256:aa"', false],
    ['name', true],
    ['parent', true],
    ['name.whatever==x', false],
    // labels, quoted and not
    ['labels.plain', true],
    ['labels.absent', false],
    ['labels.empty', true],
    ['labels.empty==""', true],
    ['labels.absent==""', false],
    ['labels.plain==yes', true],
    ['labels."plain"=="yes"', true],
    ['labels.a.b.c==dotted', true],
    ['labels."a.b.c"==dotted', true],
    ['labels.a."b.c"==dotted', true],
    ['labels."containerd.io/snapshot.ref"==sha256:bb', true],
    ['labels."containerd.io/snapshot.ref"==sha256:bb,parent=="sha256:aa"', true],
    ['labels."containerd.io/snapshot.ref"==sha256:bb,parent=="other"', false],
    ['labels."odd \\"key\\", with\\ttab"=="odd \\"value\\", \\\\ \\u00fc"', true],
    ['labels."\\x70lain"=="\\171es"', true],
    ['labels."odd \\"key\\", with\\ttab"=="odd \\"value\\", \\\\ \\xc3\\xbc"', true],
    ['labels', false],
    ['labels.toString', false],
    ['labels.constructor==x', false],
    ['labels.version==1.2.3', true],
    // not equal, of what is absent
    ['labels.absent!=x', true],
    ['labels.absent!=""', false],
    ['unknown', false],
    ['unknown==x', false],
    ['unknown!=x', true],
    // patterns
    ['name~=^default/', true],
    ['name~=^efault', false],
    ['name~=efault', true],
    ['name~="k8s\\\\.io"', true],
    ['name~=/^default\\/12\\//', true],
    ['name~=|^default/[0-9]+/|', true],
    ['name~=^(default|other)/', true],
    ['name~=(?i)DEFAULT', true],
    ['name~=(?P<space>default)', true],
    ['name~="\\\\Adefault.*app\\\\z"', true],
    ['labels.version~="^1\\\\.2\\\\-?\\\\.3$"', true],
    ['labels.absent~=a', false],
    ['labels.absent~=^$', true],
    ['name~="[\\\\-/]12"', true],
    // spellings that RE2 has and JavaScript has not, and the reverse
    ['name~="[[:digit:]]{2}/k8s\\\\Q.io\\\\E"', true],
    ['name~="k8s(?i:\\\\.IO) \\\\pL+$"', true],
    ['name~="(?s-i)K8S"', false],
    ['labels."odd \\"key\\", with\\ttab"~="\\\\x{fc}$"', true],
    // white space
    [' name == "default/12/k8s.io app"', true],
    ['kind==committed, labels.plain', true],
    // values that look like syntax
    ['labels.plain==a==b', false],
    ['', true],
  ])('%s is %s', (filter, expected) => {
    expect(matches([filter])).toBe(expected);
  });

  test('no filters match all; several mean any; commas mean all', () => {
    expect(matches([])).toBe(true);
    expect(matches(['kind==view', 'labels.plain'])).toBe(true);
    expect(matches(['kind==view', 'labels.absent'])).toBe(false);
    expect(matches(['kind==committed,labels.plain,labels.absent'])).toBe(false);
  });

  test('a snapshot without parent and labels: parent is present and empty', () => {
    expect(matches(['parent'], rootless)).toBe(true);
    expect(matches(['parent==""'], rootless)).toBe(true);
    expect(matches(['labels.plain!=yes'], rootless)).toBe(true);
  });
});

describe('what is refused, and where', () => {
  test.each<[string, number]>([
    [' ', 2],
    [',', 1],
    ['name==', 7],
    ['name==a,', 9],
    ['name=a', 5],
    ['name===a', 5],
    ['name<a', 5],
    ['name ', 6],
    ['name==a b', 8],
    ['name==a ,kind', 8],
    ['.name', 1],
    ['labels.', 8],
    ['labels..a', 8],
    ['labels."a', 8],
    ['labels."a\nb"', 8],
    ['name=="a"b', 10],
    ['name==/a/', 7],
    ['name==|a|', 7],
    ['name==.a', 7],
    ['name=="\\q"', 8],
    ['name=="\\x4"', 8],
    ['name=="\\400"', 8],
    ['name=="\\ud800"', 8],
    ['name=="\\U00110000"', 8],
    ['name=="\\xff"', 7],
    ['name~=/a\\.b/', 9],
    ['name~=(', 7],
    ['name~=a**', 7],
    ['name~=(?=a)', 7],
    ['name~=(?<!a)', 7],
    ['name~="(a)\\\\1"', 7],
    ['name~="a\\\\Z"', 7],
    ['name~=a{1001}', 7],
    ['name~=(a{1000}|b{1000}|c{1000}|d{1000}|e{1000})', 7],
    ['na\0me', 3],
    ['ünicode==1', 1],
    [`name~=${'a'.repeat(1025)}`, 7],
  ])('%j at character %i', (filter, position) => {
    try {
      compileFilters(['name==fine', filter]);
    } catch (error) {
      expect(error).toBeInstanceOf(CodedError);
      expect(error).toMatchObject({ code: 'invalid-argument', facts: { position } });
      expect((error as CodedError).message).toContain(`character ${position}:`);
      expect((error as CodedError).next).toBeDefined();
      return;
    }
    expect.unreachable('the filter was accepted');
  });

  test('more than a thousand filters', () => {
    expect(() => compileFilters(Array.from({ length: 1001 }, () => 'name'))).toThrow(/1000 filters/);
  });
});

describe('patterns made to be slow', () => {
  const text = `${'a'.repeat(4094)}!`;

  test.each([
    '^(a+)+$',
    '(a*)*b',
    '^(a|a)*$',
    '(a|aa)+$',
    '(.*a){20}b',
    '(a?){300}a{300}b',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
  ])('%s gives no match, and the test ends', (pattern) => {
    expect(matches([`name~="${pattern}"`], { ...subject, name: text })).toBe(false);
  });

  test('all patterns of one List together have a limit of instructions', () => {
    const filters = Array.from({ length: 5 }, (_, index) => `name~=^${String.fromCharCode(97 + index)}{900}$`);
    expect(matches(filters.slice(0, 4), { ...subject, name: 'd'.repeat(900) })).toBe(true);
    expect(() => compileFilters(filters)).toThrow(/repeat too much/);
  });

  test('all matching of one List together has a limit of time', () => {
    let now = 0;
    const clock = () => (now += 300);
    const selects = compileFilters(['name~=x'], new Patterns(clock));
    for (let matched = 0; matched < 6; matched += 1) expect(selects(subject)).toBe(false);
    expect(() => selects(subject)).toThrow(expect.objectContaining({ code: 'deadline-exceeded' }));
  });
});

describe('properties', () => {
  const alphabet = ['name', 'labels', 'a', 'kind', '.', ',', '==', '!=', '~=', '=', '"', '/', '|', '\\', '\\x41', ' '];
  const marks = [
    '\n',
    '\0',
    'ü',
    '\u{1F600}',
    '(',
    ')',
    '[',
    ']',
    '{',
    '}',
    '*',
    '+',
    '?',
    '^',
    '$',
    '\ud800',
    '1',
    '\\u',
  ];

  test('any text is a filter or an invalid argument with a position inside it', () => {
    const random = seededRandom(20260102);
    const pieces = [...alphabet, ...marks];
    let accepted = 0;
    for (let round = 0; round < 20_000; round += 1) {
      const length = Math.floor(random() * 12);
      const filter = Array.from({ length }, () => pieces[Math.floor(random() * pieces.length)] ?? '').join('');
      try {
        expect(typeof compileFilters([filter])(subject)).toBe('boolean');
        accepted += 1;
      } catch (error) {
        if (!isCode(error, 'invalid-argument')) throw new Error(`filter ${JSON.stringify(filter)}`, { cause: error });
        expect(error.facts['position']).toBeGreaterThan(0);
        expect(error.facts['position']).toBeLessThanOrEqual(filter.length + 1);
      }
    }
    expect(accepted).toBeGreaterThan(500);
  });

  test('any label and value, quoted, are found', () => {
    const random = seededRandom(7);
    const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&').replaceAll('\n', '\\n')}"`;
    for (let round = 0; round < 5_000; round += 1) {
      const text = () =>
        Array.from({ length: 8 }, () => String.fromCodePoint(1 + Math.floor(random() * 0xd7fe))).join('');
      const [key, value] = [text(), text()];
      const filter = `labels.${quote(key)}==${quote(value)}`;
      expect(matches([filter], { ...subject, labels: { [key]: value } }), filter).toBe(true);
      expect(matches([filter]), filter).toBe(false);
    }
  });
});
