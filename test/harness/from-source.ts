/** Options for a Node that runs TypeScript, in its main thread and in threads that it starts. */
export const fromSource: readonly string[] = [
  '--import',
  'tsx',
  '--import',
  new URL('../../scripts/typescript-threads.mjs', import.meta.url).href,
];
