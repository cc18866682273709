/**
 * The pattern of a `~=` selector. containerd compiles it with Go's RE2, which knows neither look-around nor back
 * references and accepts a few spellings that JavaScript does not; the common ones are translated, the rest refused.
 *
 * JavaScript's matcher backtracks. Without back references and look-around, and with patterns of at most
 * {@link longestPattern} characters over keys and labels of at most 4096 bytes, a careless pattern stays fast; one made
 * to be slow can still occupy the daemon. Only those who can open its socket (mode 0600) can send one.
 */
const longestPattern = 1024;

const leadingFlags = /^\(\?([ims]+)\)/;
// An escape, the head of a group, or any one character.
const tokens = /\\[\s\S]?|\(\?(?:P?<(?![=!])|<?[=!])?|[\s\S]/gu;
const syntaxCharacters = '^$\\.*+?()[]{}|/';

/** @throws SyntaxError saying what is wrong with the pattern */
export function compilePattern(pattern: string): RegExp {
  if (pattern.length > longestPattern) throw new SyntaxError(`the pattern is longer than ${longestPattern} characters`);
  const flags = leadingFlags.exec(pattern);
  const body = flags ? pattern.slice(flags[0].length) : pattern;
  let inClass = false;
  const translated = (body.match(tokens) ?? []).map((token) => {
    if (inClass) {
      if (token === ']') inClass = false;
      return token.startsWith('\\') ? translateEscape(token, true) : token;
    }
    if (token === '[') inClass = true;
    if (token.startsWith('\\')) return translateEscape(token, false);
    return token.startsWith('(?') ? translateGroup(token) : token;
  });
  return new RegExp(translated.join(''), `u${[...new Set(flags?.[1] ?? '')].join('')}`);
}

function translateGroup(head: string): string {
  if (head === '(?=' || head === '(?!' || head === '(?<=' || head === '(?<!') {
    throw new SyntaxError('look-around is not supported');
  }
  return head === '(?P<' ? '(?<' : head;
}

function translateEscape(escape: string, inClass: boolean): string {
  const character = escape.slice(1);
  if (/[1-9k]/.test(character)) throw new SyntaxError('back references are not supported');
  if (!inClass && character === 'A') return '(?<![\\s\\S])';
  if (!inClass && character === 'z') return '(?![\\s\\S])';
  const punctuation = /^[!-/:-@[-`{-~]$/.test(character);
  if (!punctuation || syntaxCharacters.includes(character) || (inClass && character === '-')) return escape;
  return character;
}
