// Prints the apt source (deb822 form) for a Debian suite, with the address and the key of the machine's own sources.
// Usage: node apt-sources.mjs <codename of this system> <suite wanted, or empty for its own> <mirror, or empty> [sources folder]
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [codename = '', wanted = '', mirror = '', folder = '/etc/apt'] = process.argv.slice(2);
const aliases = ['oldstable', 'stable', 'testing', 'unstable', 'sid'];

/** One-line form: `deb [option=value …] address suite component…`. */
function parseLine(line) {
  const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$/.exec(line.replace(/#.*/, '').trim());
  if (match === null) return [];
  const [, options = '', address, suite, components] = match;
  const option = (name) => new RegExp(`(?:^|\\s)${name}=(\\S+)`).exec(options)?.[1];
  return [
    {
      addresses: [address],
      suites: [suite],
      components: components.split(/\s+/),
      signedBy: option('signed-by'),
      trusted: option('trusted'),
    },
  ];
}

/** deb822 form: a stanza of fields; a value goes on in lines that start with a blank (an inline key does). */
function parseStanza(stanza) {
  const lines = stanza.split('\n').filter((line) => !line.startsWith('#'));
  const fields = new Map();
  let name;
  for (const line of lines) {
    const field = /^([A-Za-z-]+):\s*(.*)$/.exec(line);
    if (field !== null) fields.set((name = field[1].toLowerCase()), field[2]);
    else if (name !== undefined && /^\s/.test(line)) fields.set(name, `${fields.get(name)}\n${line}`);
  }
  const words = (key) => (fields.get(key) ?? '').split(/\s+/).filter((word) => word !== '');
  if (!words('types').includes('deb') || /^(no|false|0|off)$/i.test(fields.get('enabled') ?? '')) return [];
  return [
    {
      addresses: words('uris'),
      suites: words('suites'),
      components: words('components'),
      signedBy: fields.get('signed-by'),
      trusted: fields.get('trusted'),
    },
  ];
}

function readSources() {
  const parts = join(folder, 'sources.list.d');
  const names = existsSync(parts) ? readdirSync(parts).sort() : [];
  const files = [join(folder, 'sources.list'), ...names.map((name) => join(parts, name))].filter(existsSync);
  return files.flatMap((file) => {
    const text = readFileSync(file, 'utf8');
    if (file.endsWith('.sources')) return text.split(/\n\s*\n/).flatMap(parseStanza);
    return file.endsWith('.list') ? text.split('\n').flatMap(parseLine) : [];
  });
}

/** Other vendors use Debian's suite names too, so an address that ends like a Debian mirror's goes first. */
function candidates() {
  return readSources()
    .filter((source) => source.components.includes('main'))
    .flatMap((source) =>
      source.addresses.flatMap((address) => source.suites.map((suite) => ({ ...source, address, suite }))),
    )
    .filter(({ address, suite }) => !/security|^cdrom:/.test(address) && [codename, ...aliases].includes(suite))
    .sort((a, b) => Number(/\/debian\/?$/.test(b.address)) - Number(/\/debian\/?$/.test(a.address)));
}

const found = candidates()[0];
const address = mirror || found?.address;
if (address === undefined) process.exit(1);
const stanza = [`Types: deb`, `URIs: ${address}`, `Suites: ${wanted || found?.suite || codename}`, `Components: main`];
if (found?.signedBy) stanza.push(`Signed-By: ${found.signedBy}`);
if (found?.trusted) stanza.push(`Trusted: ${found.trusted}`);
console.log(stanza.join('\n'));
