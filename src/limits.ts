/** Bytes of a unix socket's path: the kernel's `sun_path` holds 108, the last of them zero. */
export const longestSocketPath = 107;
