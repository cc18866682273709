import { parse, TomlError } from 'smol-toml';
import { CodedError } from '../errors.js';

/** @throws CodedError `invalid-argument` with file, line and column of what is wrong */
export function parseToml(path: string, text: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const why = error.message.split('\n')[0]?.replace(/^Invalid TOML document: /, '') ?? '';
    throw new CodedError('invalid-argument', `file ${path} line ${error.line} column ${error.column}: ${why}`, {
      facts: { path, line: error.line },
      next: 'mend that line',
      cause: error,
    });
  }
}
