import { RE2JS, RE2JSSyntaxException } from 're2js';
import { CodedError } from '../errors.js';

/** Characters of a pattern. */
const longestPattern = 1024;
/** Instructions of all patterns of one List: repetition makes many of few characters, and matching one text costs time for each. */
const mostInstructions = 4000;
/** Milliseconds that all matching of one List may take; 10,000 snapshots and ten plain patterns take 100. */
const matchingMs = 2000;

/**
 * The patterns of one List's `~=` selectors: Go's RE2, which containerd compiles them with, in a matcher that is linear in the
 * text. Linear alone is no bound: instructions, and the time over all snapshots, have limits too.
 */
export class Patterns {
  readonly #now: () => number;
  #instructions = 0;
  #spentMs = 0;

  /** @param now a clock in milliseconds */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /**
   * @returns whether any part of a text matches; throws CodedError `deadline-exceeded` when the matching of all patterns
   *   took too long
   * @throws SyntaxError saying what is wrong with the pattern
   */
  compile(pattern: string): (text: string) => boolean {
    if (pattern.length > longestPattern) {
      throw new SyntaxError(`the pattern is longer than ${longestPattern} characters`);
    }
    const compiled = compileOne(pattern);
    this.#instructions += compiled.programSize();
    if (this.#instructions > mostInstructions) {
      throw new SyntaxError('the patterns repeat too much to be matched quickly');
    }
    return (text) => {
      const started = this.#now();
      const matches = compiled.test(text);
      this.#spentMs += this.#now() - started;
      if (this.#spentMs > matchingMs) throw tooSlow();
      return matches;
    };
  }
}

function tooSlow(): CodedError {
  return new CodedError('deadline-exceeded', `matching the filters took more than ${matchingMs / 1000} s`, {
    next: 'give fewer and simpler patterns',
  });
}

function compileOne(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (error) {
    if (!(error instanceof RE2JSSyntaxException)) throw error;
    throw new SyntaxError(error.message.replace('error parsing regexp: ', ''), { cause: error });
  }
}
