/** Where the environment appears. */
const spfsRoot = '/spfs';

const longestPart = 255;
const longestPath = 4095;

/**
 * The absolute, normalised path of a live layer's destination, which is written relative to `/spfs`, with or without that prefix;
 * or what is wrong with it.
 */
export function readDestination(
  text: string,
): { readonly path: string } | { readonly what: string; readonly next: string } {
  const next = `write a path below ${spfsRoot}, such as ${spfsRoot}/game or game`;
  // eslint-disable-next-line no-control-regex -- these are what it is about
  if (/[\u0000-\u001f\u007f]/.test(text)) return { what: 'a destination cannot have control characters', next };
  const parts = text.split('/').filter((part) => part !== '' && part !== '.');
  if (text === '') return { what: 'the destination is empty', next: `${next}; ${spfsRoot} itself is possible, too` };
  if (text.startsWith('/') && parts.shift() !== spfsRoot.slice(1)) {
    return { what: `this is outside of ${spfsRoot}`, next };
  }
  const kept: string[] = [];
  for (const part of parts) {
    if (part !== '..') kept.push(part);
    else if (kept.pop() === undefined) return { what: `this leaves ${spfsRoot}`, next };
  }
  const path = [spfsRoot, ...kept].join('/');
  const long = kept.some((part) => Buffer.byteLength(part) > longestPart) || Buffer.byteLength(path) > longestPath;
  if (!long) return { path };
  return {
    what: 'this is longer than a path may be',
    next: `use at most ${longestPart} bytes a name and ${longestPath} in all`,
  };
}

/** Whether a path is another one or lies below it. Both are absolute and normalised. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
}
