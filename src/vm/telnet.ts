/**
 * The little of TELNET (RFC 854) that busybox's telnetd needs of a host that understands none of its options: what it asks
 * for is skipped, and bytes that would mean something are escaped.
 */
const iac = 255;
const subnegotiation = 250;
const subnegotiationEnd = 240;
/** WILL, WONT, DO and DONT: one byte follows, the option. */
const firstWithOption = 251;
const carriageReturn = 13;

type State = 'data' | 'command' | 'option' | 'subnegotiation' | 'subnegotiation-command';

/** Takes the commands out of what telnetd writes. */
export class TelnetReader {
  #state: State = 'data';

  push(chunk: Buffer): Buffer {
    const out = Buffer.alloc(chunk.length);
    let length = 0;
    for (const byte of chunk) {
      const wasData = this.#state === 'data';
      const state = next(this.#state, byte);
      // A doubled IAC is the byte itself.
      const isByte = wasData ? byte !== iac : this.#state === 'command' && byte === iac;
      if (isByte) out[length++] = byte;
      this.#state = state;
    }
    return out.subarray(0, length);
  }
}

function next(state: State, byte: number): State {
  switch (state) {
    case 'data':
      return byte === iac ? 'command' : 'data';
    case 'command':
      if (byte === subnegotiation) return 'subnegotiation';
      return byte >= firstWithOption && byte !== iac ? 'option' : 'data';
    case 'option':
      return 'data';
    case 'subnegotiation':
      return byte === iac ? 'subnegotiation-command' : 'subnegotiation';
    case 'subnegotiation-command':
      return byte === subnegotiationEnd ? 'data' : 'subnegotiation';
  }
}

/** What telnetd shall take for `chunk`: it reads a carriage return as one even when another byte follows. */
export function telnetBytes(chunk: Buffer): Buffer {
  const out: number[] = [];
  for (const byte of chunk) {
    out.push(byte);
    if (byte === iac) out.push(iac);
    if (byte === carriageReturn) out.push(0);
  }
  return Buffer.from(out);
}
