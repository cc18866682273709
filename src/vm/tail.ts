import { Tail } from '../host/index.js';

// eslint-disable-next-line no-control-regex -- these control characters are what is removed
const terminalControl = /\x1b(\[[0-9;?=]*[A-Za-z]|c)|\r/g;

/** The last of what firmware and kernels print, without their carriage returns and their colour and cursor commands. */
export class ConsoleTail extends Tail {
  override text(): string {
    return super.text().replace(terminalControl, '').trim();
  }
}
