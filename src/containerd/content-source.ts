/** Where a blob's bytes come from. `size` is in bytes. */
export type ContentSource =
  | { readonly kind: 'file'; readonly path: string; readonly size: number }
  /** To be read once, to its end: it fails with `data-loss` when it is not `size` bytes long. */
  | { readonly kind: 'stream'; readonly stream: AsyncIterable<Uint8Array>; readonly size: number };
